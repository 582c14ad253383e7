"""The pictures of a model's data: where they are on this machine, and one of them to be shown."""

from __future__ import annotations

import base64
from pathlib import Path
from typing import TYPE_CHECKING

import streamlit as st

from dashboard import parts
from dashboard.data import folder_from
from kop_core import overlay, radiographs, source_images
from kop_core.errors import DataSetError, KopError, RadiographError
from kop_core.model_store import Model
from kop_core.source_images import SourceImages

if TYPE_CHECKING:
    from collections.abc import Iterable

    from kop_core.evaluation.cells import Facts
    from kop_core.explanation import Influence

_SIDE = 320  # pixels of a picture's longer side
_FOLDERS, _FOUND, _PATH = "pictures_folders", "pictures_found", "pictures_path"
_FACTS = "pictures_facts"


def find(model: Model) -> tuple[SourceImages | None, str]:
    """Return the pictures of a model's data, or why they are not there; kept by session."""
    named = st.session_state.setdefault(_FOLDERS, {}).get(data_key(model))
    key = (model.id, model.version, named)
    kept: dict = st.session_state.setdefault(_FOUND, {})
    if key not in kept:
        try:
            with st.spinner("Looking for the pictures of its data on this machine."):
                kept[key] = source_images.find(model, named), ""
        except KopError as error:
            kept[key] = None, str(error)
    return kept[key]


def images_of(model: Model) -> SourceImages:
    """Return the pictures of a model's data.

    Raises:
        DataSetError: if they are not on this machine.
    """
    images, why = find(model)
    if images is None:
        raise DataSetError(why)
    return images


def facts(images: SourceImages, files: Iterable[str]) -> dict[str, Facts]:
    """Return size and side of pictures; each file's header is read once in a session."""
    kept = st.session_state.setdefault(_FACTS, {}).setdefault(str(images.root), {})
    for file in files:
        if file not in kept:
            kept[file] = images.facts(file)
    return {file: kept[file] for file in files}


def look_again() -> None:
    """Forget where pictures were and were not found, and their sizes: all are looked for anew."""
    st.session_state.pop(_FOUND, None)
    st.session_state.pop(_FACTS, None)


def look_again_button() -> None:
    """Draw the button for a person who has put the pictures back."""
    st.button("Look again", icon=":material/refresh:", on_click=look_again, type="tertiary")


def data_key(model: Model) -> str:
    """Return what names a model's data: its fingerprint."""
    return str(model.card["data"].get("fingerprint"))


def ask(model: Model, why: str, without: str) -> None:
    """Say why the pictures of a model's data are not there, and ask where they are.

    Args:
        model: the model.
        why: they were not found.
        without: a sentence on what there is without them.
    """
    with st.container(border=True):
        st.markdown(f":material/image_not_supported: {parts.escape(why)} {without}")
        look_again_button()
        _folder_form(model)


def say_where(model: Model, images: SourceImages) -> None:
    """Say where the pictures are, folded away, with the form that names another folder."""
    with st.expander("Where the pictures are", icon=":material/folder:"):
        st.markdown(
            f"In {parts.escape(str(images.root))}. Each is compared with the digest of the file "
            "that was measured whenever it is shown."
        )
        _folder_form(model)


def _folder_form(model: Model) -> None:
    name = source_images.data_name(model)
    with st.form("pictures_folder", border=False):
        field, button = st.columns([2.2, 1], vertical_alignment="bottom")
        with field:
            typed = st.text_input(
                f"Folder of {parts.escape(name)} on the machine that runs KOP",
                placeholder="/home/me/knees",
                key=_PATH,
                help="Its files are compared with the fingerprint on the model's card. The path "
                "is kept as long as this page is open, and is not in its address.",
            )
        with button:
            asked = st.form_submit_button("Look there", icon=":material/search:")
    if not asked:
        return
    if typed.strip():
        try:
            st.session_state[_FOLDERS][data_key(model)] = folder_from(typed).absolute()
        except KopError as error:
            st.error(parts.escape(str(error)), icon=":material/error:")
            return
    else:
        st.session_state[_FOLDERS].pop(data_key(model), None)
    look_again()
    st.rerun()


def drawn(images: SourceImages, file: str) -> str | KopError:
    """Return a picture as an address that holds it, or why it cannot be shown."""
    try:
        return _drawn(images.digest(file) or "", file, images.read(file))
    except (DataSetError, RadiographError) as error:
        return error


@st.cache_data(max_entries=96, show_spinner=False)
def _drawn(digest: str, _file: str, _data: bytes) -> str:
    return small(radiographs.read(_data, Path(_file).name))


def laid_over(radiograph: radiographs.Radiograph, influence: Influence) -> str | None:
    """Return a map of influence over its radiograph; ``None`` if nothing speaks for the class."""
    if not influence.evidence:
        return None
    return _data_uri(overlay.to_png(overlay.blend(overlay.render(radiograph, _SIDE), influence)))


def small(radiograph: radiographs.Radiograph) -> str:
    """Return a radiograph, at the size that it is shown, as an address that holds it."""
    return _data_uri(overlay.to_png(overlay.render(radiograph, _SIDE)))


def _data_uri(png: bytes) -> str:
    return "data:image/png;base64," + base64.b64encode(png).decode()
