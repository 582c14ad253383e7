"""Maps of influence beside several pictures of a page: made when asked for, and kept."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

import streamlit as st

from dashboard import loading, parts, pictures
from kop_core import overlay, radiographs
from kop_core.errors import KopError
from kop_core.model_store import Model

if TYPE_CHECKING:
    from kop_core.classifier import Classifier

_KEPT = 400
_SCALE = """
<style>
.kop-scale {display: flex; gap: .5rem; align-items: center; font-size: .85rem;}
.kop-scale i {width: 7rem; height: .6rem; border-radius: 2px;}
</style>
"""
_SAID = 2

MapKey = tuple["str | None", ...]


@dataclass(frozen=True)
class Wanted:
    """A map that is wanted.

    Attributes:
        key: by which :func:`known` keeps it: of the weights, the picture and the class.
        model: whose it is.
        file: name of the picture.
        read: what returns the picture's bytes.
        called: the class that it explains.
    """

    key: MapKey
    model: Model
    file: str
    read: Callable[[], bytes]
    called: str


@st.cache_resource(show_spinner=False)
def known() -> dict[MapKey, str | None]:
    """Return the maps that were made, for every session: a reload makes none twice.

    Each is a picture with its map laid over it, as an address that holds it; ``None`` where
    nothing in the picture speaks for the class.
    """
    return {}


def make(wanted: Sequence[Wanted], loaded: Callable[[Model], Classifier]) -> str:
    """Make maps, with a bar that tells how far it is.

    A picture that cannot be read leaves out its own map only, a model those that are its own.

    Args:
        wanted: the maps.
        loaded: returns a model, ready to classify.

    Returns:
        why not every one was made, or ``""``.
    """
    kept, wrong, failed = known(), [], set()
    bar = st.progress(0.0)
    for done, one in enumerate(wanted):
        if one.model.folder in failed:
            continue
        bar.progress(done / len(wanted), f"Map {done + 1} of {len(wanted)}")
        try:
            classifier = loaded(one.model)
        except KopError as error:  # said once, and not of every picture
            failed.add(one.model.folder)
            wrong.append(str(error))
            continue
        try:
            radiograph = radiographs.read(one.read(), Path(one.file).name)
            found = classifier.classify(radiograph, "gradcam", one.called)
        except KopError as error:
            wrong.append(str(error))
        except OSError as error:
            wrong.append(f"{one.file} could not be read: {error.strerror}.")
        else:
            kept[one.key] = pictures.laid_over(radiograph, found.influence)
    bar.empty()
    _forget_oldest(kept, wanted)
    if not wrong:
        return ""
    return f"Not every map was made. {' '.join(wrong[:_SAID])}" + (
        f" And {len(wrong) - _SAID} more." if len(wrong) > _SAID else ""
    )


def _forget_oldest(kept: dict[MapKey, str | None], new: Iterable[Wanted]) -> None:
    """Keep no more maps than there is room for, and none less of the new ones."""
    keys = {one.key for one in new}
    for key in [k for k in kept if k not in keys][: max(0, len(kept) - _KEPT)]:
        kept.pop(key, None)


def scale() -> None:
    """Draw the colour bar of maps that are laid over their pictures."""
    stops = ", ".join(colour for _, colour in overlay.colour_stops())
    st.html(
        f"{_SCALE}<div class='kop-scale'>Influence: none <i style='background: "
        f"linear-gradient(to right, {stops})'></i> most</div>"
    )


def ask(missing: Sequence[Wanted], label: str, what: str, key: str) -> None:
    """Draw the button that asks for maps, and make them when it is pressed.

    Args:
        missing: the maps that there are not yet.
        label: of the button.
        what: is made, for its help.
        key: of the button.
    """
    place, work = st.empty(), st.empty()
    if not missing or not place.button(label, icon=":material/visibility:", help=what, key=key):
        return
    with work.container():
        wrong = make(missing, _loaded(one.model for one in missing))
    work.empty()
    if wrong:
        st.error(parts.escape(wrong), icon=":material/error:")
    else:
        place.empty()


def _loaded(models: Iterable[Model]) -> Callable[[Model], Classifier]:
    """Load models, and say so meanwhile; what goes wrong is raised when one is asked for."""
    futures = {str(m.folder): loading.start_loading(m) for m in models}
    what = "model" if len(futures) == 1 else "models"
    with st.spinner(f"Starting TensorFlow and loading the {what}. Some seconds, once."):
        for future in futures.values():
            future.exception()
    return lambda model: futures[str(model.folder)].result()
