"""The X-rays on which two models disagree, as pictures with what both looked at."""

from __future__ import annotations

import csv
import html
import io
from collections.abc import Sequence
from pathlib import Path

import streamlit as st

from dashboard import loading, parts
from dashboard import training_result as result
from dashboard.evaluated import say, table
from kop_core import radiographs, wording
from kop_core.classes import by_name
from kop_core.errors import KopError, RadiographError, RunError
from kop_core.evaluation import compared_words as words
from kop_core.evaluation.compared import Compared, Disagreement, Entry, disagreements
from kop_core.model_store import PREDICTIONS, Model

AT_ONCE = 6
STYLE = """
<style>
.kop-apart {display: grid; grid-template-columns: repeat(auto-fill, minmax(26rem, 1fr));
  gap: 1.1rem;}
.kop-apart figure {margin: 0; font-size: .85rem; line-height: 1.35; min-width: 0;}
.kop-apart .kop-pictures {display: grid; gap: 2px; background: #000; border-radius: 4px;
  overflow: hidden; grid-auto-flow: column; grid-auto-columns: minmax(0, 1fr); height: 12.5rem;}
.kop-apart .kop-pictures div {display: flex; flex-direction: column; min-width: 0; min-height: 0;}
.kop-apart img {width: 100%; flex: 1; min-height: 0; object-fit: contain;}
.kop-apart .kop-pictures span {background: #1A2429; color: #E4EBED; font-size: .75rem;
  padding: .1rem .4rem; white-space: nowrap; overflow: hidden; text-overflow: ellipsis;}
.kop-apart figcaption {margin-top: .3rem; overflow-wrap: anywhere;}
</style>
"""


def draw(compared: Compared) -> None:
    """Draw what two models, chosen here, disagree on."""
    pairs = {f"{pair.first}, {pair.second}": pair for pair in compared.tested}
    left, right = st.columns([1, 1.3], gap="medium", vertical_alignment="bottom")
    chosen = left.selectbox("Two models", list(pairs), key="pair", bind="query-params")
    first, second = (compared.entry(k) for k in (pairs[chosen].first, pairs[chosen].second))
    found = disagreements(first.predictions, second.predictions)
    say(words.disagreement_note(found, first.key, second.key))
    if not found:
        return
    with right:
        shown = _filtered(found, first, second)
    if not shown:
        st.caption("There is none of these.")
        return
    _pictures(shown, first, second)
    rows = words.disagreement_table(shown, first.key, second.key)
    with st.expander(f"As a table: {len(rows):,}"):
        table(
            [{k: parts.escape(v) for k, v in row.items()} for row in rows],
            "The test images on which the two models disagree",
        )
    st.download_button(
        "Cases (CSV)",
        _to_csv(rows).encode("utf-8-sig"),
        "kop_disagreements.csv",
        "text/csv",
        icon=":material/download:",
        on_click="ignore",
    )


def _filtered(
    found: Sequence[Disagreement], first: Entry, second: Entry
) -> tuple[Disagreement, ...]:
    """Draw the choice of who is right, and return the cases of which that is so."""
    kinds = {
        "All": lambda one: True,
        f"{first.key} as labelled": lambda one: one.first == one.true,
        f"{second.key} as labelled": lambda one: one.second == one.true,
        "Neither": lambda one: one.true not in (one.first, one.second),
    }
    chosen = st.segmented_control("Show", list(kinds), default="All", key="right", required=True)
    return tuple(one for one in found if kinds.get(chosen, kinds["All"])(one))


def _to_csv(rows: Sequence[dict[str, str]]) -> str:
    stream = io.StringIO()
    writer = csv.DictWriter(stream, list(rows[0]))
    writer.writeheader()
    for row in rows:  # a spreadsheet must not take a file's name for a formula
        writer.writerow({k: f"'{v}" if v[:1] in ("=", "+", "-", "@") else v
                         for k, v in row.items()})  # fmt: skip
    return stream.getvalue()


# Where the pictures are.


def _place(model: Model) -> tuple[Path | None, dict[str, str]]:
    """Return where the test pictures of a model are on this machine, and their digests.

    A model does not say where its data were, but the run that it was published from does, and
    so does any other run on the same data.
    """
    from kop_core.training import runs

    wanted = model.card["data"].get("fingerprint")
    known: dict[str, str] = {}
    for run in runs.list_runs():
        data = (run.record or {}).get("data")
        if not isinstance(data, dict) or not wanted or data.get("fingerprint") != wanted:
            continue
        known = known or result._digests(run.folder)
        if known and run.data_folder is not None and run.data_folder.exists():
            return run.data_folder, known
    return None, known


def _asked_for(model: Model) -> tuple[Path | None, dict[str, str]]:
    """Draw the field that asks where the pictures are; return them if they are the same."""
    said = st.text_input(
        "Folder of the pictures on this machine",
        key="pictures_folder",
        placeholder="/data/knees",
        help="The data set that the models were trained and tested on. Every file is checked "
        "against what the card says of the data.",
    ).strip()
    if not said:
        return None, {}
    folder = Path(said).expanduser()
    try:
        with st.spinner("Seeing whether these are the pictures that the models were tested on."):
            fingerprint, digests = _scanned(str(folder), _changed(folder))
    except (KopError, OSError) as error:
        st.error(parts.escape(str(error)), icon=":material/error:")
        return None, {}
    if fingerprint != model.card["data"].get("fingerprint"):
        st.warning(
            parts.escape(
                f"The pictures in {folder} are not those that these models were tested on: files, "
                "classes or bytes differ. Those that are byte by byte the same cannot be told "
                "from the others, so none is shown."
            ),
            icon=":material/warning:",
        )
        return None, {}
    return folder, digests


def _changed(folder: Path) -> int:
    return folder.stat().st_mtime_ns if folder.exists() else 0


@st.cache_data(max_entries=8, show_spinner=False)
def _scanned(folder: str, changed: int) -> tuple[str, dict[str, str]]:
    from kop_core.datasets import scan

    data = scan(folder)
    return data.fingerprint, {item.file: item.sha256 for item in data.items}


# The pictures.


def _pictures(shown: Sequence[Disagreement], first: Entry, second: Entry) -> None:
    folder, digests = _place(first.model)
    if folder is None:
        folder, digests = _asked_for(first.model)
        if folder is None:
            st.info(
                "No run on this machine says where the pictures are, so the cases are listed "
                "without them, in the table below. Name their folder to see them.",
                icon=":material/info:",
            )
            return
    many = st.session_state.setdefault("apart_shown", AT_ONCE)
    found, gone = [], []
    for one in shown[:many]:
        try:
            path = result.find_picture(folder, one.file, digests.get(one.file))
            found.append((one, path, result._picture(str(path), path.stat().st_mtime_ns)))
        except (RunError, RadiographError, OSError) as error:
            gone.append(error)
    maps = _maps(first, second, found) if found else {}
    st.html(STYLE)
    drawn = "".join(_figure(one, picture, first, second, maps) for one, _, picture in found)
    st.html(f'<div class="kop-apart">{drawn}</div>')
    if gone:
        count = "1 picture" if len(gone) == 1 else f"{len(gone)} pictures"
        st.info(
            parts.escape(f"{count} cannot be shown. {gone[0]} The cases are in the table below."),
            icon=":material/info:",
        )
    if len(shown) > many and st.button(
        f"Show more of {len(shown):,}", icon=":material/expand_more:", key="more_apart"
    ):
        st.session_state["apart_shown"] = many + 2 * AT_ONCE
        st.rerun()


Maps = dict[tuple[str, str], str | None]


def _maps(first: Entry, second: Entry, found: Sequence[tuple[Disagreement, Path, str]]) -> Maps:
    """Draw the button that asks for maps of influence; return those that there are.

    They are kept by model and picture with those of the Train page: none is made twice.
    """
    known = result._known_maps()
    wanted = {}
    for entry, side in ((first, "first"), (second, "second")):
        if entry.members:
            continue
        checksum = entry.model.card["checksums"][PREDICTIONS]
        for one, path, _ in found:
            key = (entry.model.version, checksum, one.file, getattr(one, side))
            wanted[side, one.file] = (key, entry.model, path)
    missing = [value for value in wanted.values() if value[0] not in known]
    place = st.empty()
    if missing and place.button(
        "Show what both looked at",
        icon=":material/visibility:",
        help="Grad-CAM of each model for the class that it called. TensorFlow is started for it.",
        key="show_both_maps",
    ):
        with place.container():
            _make(missing, known)
        place.empty()
        missing = [value for value in missing if value[0] not in known]
    if wanted and not missing:
        st.caption(
            "Grad-CAM: what each network looked at for the class that it called, not the outline "
            "of a lesion. Bright is much influence. No map: nothing in the picture speaks for the "
            "class."
        )
    return {name: known[value[0]] for name, value in wanted.items() if value[0] in known}


def _make(missing: Sequence[tuple[tuple, Model, Path]], known: dict) -> None:
    try:
        with st.spinner("Starting TensorFlow and loading the models. Some seconds, once."):
            loaded = {
                str(model.folder): loading.start_loading(model).result() for _, model, _ in missing
            }
        bar = st.progress(0.0)
        for done, (key, model, path) in enumerate(missing):
            bar.progress(done / len(missing), f"Map {done + 1} of {len(missing)}")
            radiograph = radiographs.read(path.read_bytes(), path.name)
            found = loaded[str(model.folder)].classify(radiograph, "gradcam", key[-1])
            known[key] = result._laid_over(radiograph, found.influence)
            while len(known) > 50 * result.WORST:
                known.pop(next(iter(known)))
    except (KopError, OSError) as error:
        st.error(parts.escape(f"Not every map was made. {error}"), icon=":material/error:")


def _figure(one: Disagreement, picture: str, first: Entry, second: Entry, maps: Maps) -> str:
    name = html.escape(one.file)
    pictures = [f'<div><img src="{picture}" alt="Radiograph {name}"><span>X-ray</span></div>']
    said = [f"Labelled <b>{one.true}</b>."]
    for entry, side in ((first, "first"), (second, "second")):
        called, score = getattr(one, side), getattr(one, f"{side}_score")
        key = html.escape(entry.key)
        mark = by_name(called).colour
        said.append(
            f'<span class="kop-swatch" style="background: {mark}"></span>{key}: <b>{called}</b>, '
            f"score {wording.percent(score)}."
        )
        if (side, one.file) in maps:
            laid = maps[side, one.file]
            seen = (
                f'<img src="{laid}" alt="What {key} looked at in {name}">'
                if laid
                else f'<img src="{picture}" alt="Radiograph {name}">'
            )
            note = key if laid else f"{key}: no map"
            pictures.append(f"<div>{seen}<span>{note}</span></div>")
    if one.copies:
        said.append(f"{one.copies} more of this radiograph alike.")
    return (
        f'<figure><div class="kop-pictures">{"".join(pictures)}</div>'
        f"<figcaption>{'<br>'.join(said)}<br>{name}</figcaption></figure>"
    )
