"""The X-rays of a cell: pictures with what is known of them, marks, and what was looked at."""

from __future__ import annotations

import hashlib
import html
from collections.abc import Sequence
from functools import partial
from typing import TYPE_CHECKING

import streamlit as st

from dashboard import confusion, influence, loading, parts, pictures
from kop_core import marks, source_images, wording
from kop_core.classes import CLASSES, by_name
from kop_core.errors import MarkError
from kop_core.evaluation import Predictions, cells, matrix_words
from kop_core.evaluation.cells import BY_CONFIDENCE, SORTS, CellCase, Facts, Filter, Kin
from kop_core.evaluation.matrix import NOT_CALLED, Rule
from kop_core.marks import KINDS, LONGEST_NOTE, Mark, Marks
from kop_core.model_store import Model
from kop_core.source_images import SourceImages

if TYPE_CHECKING:
    from concurrent.futures import Future

    from kop_core.classifier import Classifier

PER_PAGE = 6
_SORT, _MAPS = "confusion_sort", "confusion_maps"
_SORT_NAMES = {BY_CONFIDENCE: "Most confident first", "loss": "Largest loss first"}
_MARK_ERROR, _PAGED = "confusion_mark_error", "confusion_paged"
STYLE = """
<style>
.kop-case {font-size: .85rem; line-height: 1.4; overflow-wrap: anywhere;}
.kop-case .kop-pair {display: flex; gap: 2px; background: #000; height: 12.5rem;
  align-items: center; justify-content: center; border-radius: 4px; overflow: hidden;
  margin-bottom: .4rem;}
.kop-case img {max-height: 100%; min-width: 0; max-width: 100%; object-fit: contain;}
.kop-case .kop-pair img + img {max-width: 50%;}
.kop-case .kop-none {padding: .5rem .6rem; border: 1px dashed rgba(128,128,128,.6);
  border-radius: 4px; margin-bottom: .4rem;}
.kop-case dl {display: grid; grid-template-columns: max-content 1fr max-content;
  gap: 0 .5rem; margin: .25rem 0 !important; padding: 0 !important; align-items: center;}
.kop-case dt {font-weight: 400;}
.kop-case dd {margin: 0 !important;}
.kop-case .kop-bar {height: .5rem; border-radius: 2px; min-width: 1px;}
.kop-case summary {cursor: pointer;}
.kop-case p, .kop-case dt, .kop-case dd, .kop-case details {font-size: .85rem !important;}
.kop-case p {margin: .15rem 0 !important;}
</style>
"""


def draw(
    model: Model, predictions: Predictions, rule: Rule, cell: cells.Cell, columns: int = 2
) -> None:
    """Draw the cases of a cell.

    Args:
        model: whose calls they are.
        predictions: what it said.
        rule: what an image is called by.
        cell: which images.
        columns: how many stand beside each other.
    """
    st.html(STYLE)
    images, why = pictures.find(model)
    with st.container(horizontal=True, vertical_alignment="center"):
        by = _sort()
        found = cells.cases(predictions, cell, rule, by)
        wanted = _filter(model, found, images)
    related = _related(predictions, images)
    kept, wrong = _marks(model)
    name = source_images.data_name(model)
    shown = cells.chosen(found, wanted, name, _facts(images, found) if wanted.needs_facts else {})
    _heading(cell, found, shown)
    if images is None:
        pictures.ask(model, why, "Everything but the pictures is here without them.")
    if wrong:
        st.warning(parts.escape(wrong), icon=":material/warning:")
    if not shown:
        _none(found)
    else:
        page = _page_number(len(shown), (model.id, model.version, rule, cell, by, wanted))
        _page(model, page, shown, images, related, kept, by, columns)
        _download(model, cell, shown, related)
    if images is not None:
        pictures.say_where(model, images)


def _sort() -> str:
    if st.session_state.get(_SORT) not in SORTS:
        asked = st.query_params.get("by")
        st.session_state[_SORT] = asked if asked in SORTS else BY_CONFIDENCE
    by = st.segmented_control(
        "Which come first",
        SORTS,
        format_func=_SORT_NAMES.__getitem__,
        key=_SORT,
        required=True,
        label_visibility="collapsed",
        width="content",
        help="By the score of the class that was called, or by the loss: −log of the score of the "
        "label, which is largest where the label was thought least likely.",
    )
    confusion.note("by", "" if by == BY_CONFIDENCE else by)
    return by


def _heading(cell: cells.Cell, found: Sequence[CellCase], shown: Sequence[CellCase]) -> None:
    count = f"{len(shown):,}" if len(shown) == len(found) else f"{len(shown):,} of {len(found):,}"
    radiographs_shown = {c.radiograph for c in shown}
    of = ""
    if shown and "" not in radiographs_shown:
        many = len(radiographs_shown)
        of = " of 1 radiograph" if many == 1 else f" of {many:,} radiographs"
    images = "image" if len(shown) == 1 else "images"
    st.markdown(f"**{parts.escape(cell.sentence)}**: {count} {images}{of}")


def _none(found: Sequence[CellCase]) -> None:
    st.info(
        "No case passes the filters. Take one away to see the others."
        if found
        else "There is no image in this cell.",
        icon=":material/info:",
    )


def _related(predictions: Predictions, images: SourceImages | None) -> dict[str, Kin]:
    if images is None:
        return cells.kin(predictions)
    return cells.kin(predictions, images.items, images.trained_on)


# Filters.


def _facts(images: SourceImages | None, found: Sequence[CellCase]) -> dict[str, Facts]:
    return pictures.facts(images, [case.file for case in found]) if images is not None else {}


def _filter(model: Model, found: Sequence[CellCase], images: SourceImages | None) -> Filter:
    """Draw what narrows the cases down: the source, the size, the side."""
    name = source_images.data_name(model)
    with st.popover("Filters", icon=":material/filter_list:"):
        sources = sorted({cells.source(c.file, name) for c in found})
        source = sides = side = None
        if len(sources) > 1:
            source = st.selectbox(
                "Source", [None, *sources], key="filter_source",
                format_func=lambda s: s or "Any",
            )  # fmt: skip
        else:
            st.caption(f"Source: all of {parts.escape(sources[0] if sources else name)}.")
        if images is None:
            st.caption("Size and laterality are not known without the pictures.")
            return Filter(source)
        facts = _facts(images, found)
        longer = sorted({max(f.size) for f in facts.values() if f.size})
        if len(longer) > 1:
            sides = st.slider(
                "Longer side, in pixels", longer[0], longer[-1], (longer[0], longer[-1]),
                key=f"filter_size_{longer[0]}_{longer[-1]}",
            )  # fmt: skip
            sides = None if sides == (longer[0], longer[-1]) else sides
        else:
            st.caption(
                f"Size: the longer side of all is {longer[0]:,} pixels." if longer
                else "Size: not known of any of these files."
            )  # fmt: skip
        known = sorted({f.laterality for f in facts.values() if f.laterality})
        if known:
            side = st.selectbox(
                "Laterality", [None, *known, ""], key="filter_side",
                format_func=lambda s: "Any" if s is None else s.capitalize() or "Not known",
                help="As the file's DICOM header or a table of the data set says.",
            )  # fmt: skip
        else:
            st.caption(
                "Laterality: not known. Neither a DICOM header nor a table of the data set says "
                "which knee these files show."
            )
    return Filter(source, side, sides)


# The cards.


def _page(
    model: Model,
    page: int,
    shown: Sequence[CellCase],
    images: SourceImages | None,
    related: dict[str, Kin],
    kept: Marks,
    by: str,
    columns: int,
) -> None:
    here = shown[(page - 1) * PER_PAGE : page * PER_PAGE]
    drawn = {c.file: pictures.drawn(images, c.file) for c in here} if images else {}
    at_hand = [c for c in here if isinstance(drawn.get(c.file), str)]
    laid = _maps(model, images, at_hand) if images and at_hand else {}
    for begin in range(0, len(here), columns):
        for place, case in zip(st.columns(columns), here[begin : begin + columns]):
            with place, st.container(border=True):
                _case(case, drawn.get(case.file), laid, related, by)
                _actions(model, case, images, kept.of(case.file))
    if (pages := _pages(len(shown))) > 1:
        _turn(page, pages)


def _pages(count: int) -> int:
    return -(-count // PER_PAGE)


def _page_number(count: int, of: tuple) -> int:
    """Return which page of the cases is shown, and keep it in the address.

    Args:
        count: of the cases.
        of: what decides which cases these are, and in what order; others begin at their first
            page.
    """
    same = st.session_state.get(_PAGED, of) == of
    st.session_state[_PAGED] = of
    try:
        asked = int(st.query_params.get("page", "1")) if same else 1
    except ValueError:
        asked = 1
    page = min(max(1, asked), _pages(count))
    confusion.note("page", "" if page == 1 else str(page))
    return page


def _turn(page: int, pages: int) -> None:
    with st.container(horizontal=True, horizontal_alignment="center", vertical_alignment="center"):
        st.button("Back", icon=":material/chevron_left:", disabled=page == 1,
                  on_click=_go_to, args=(page - 1,))  # fmt: skip
        st.markdown(f"Page {page:,} of {pages:,}", width="content")
        st.button("Next", icon=":material/chevron_right:", disabled=page == pages,
                  on_click=_go_to, args=(page + 1,))  # fmt: skip


def _go_to(page: int) -> None:
    confusion.note("page", "" if page == 1 else str(page))


def _case(
    case: CellCase,
    picture: str | Exception | None,
    laid: dict[str, str | None],
    related: dict[str, Kin],
    by: str,
) -> None:
    """Draw what is known of one image."""
    name = html.escape(case.file)
    shown = ""
    if isinstance(picture, str):
        shown = f'<img src="{picture}" alt="Radiograph {name}">'
        if laid.get(case.file):
            shown += f'<img src="{laid[case.file]}" alt="What the network looked at in {name}">'
        shown = f'<div class="kop-pair">{shown}</div>'
    elif picture is not None:
        shown = f'<div class="kop-none">{html.escape(str(picture))}</div>'
    score = f"with a score of {wording.percent(case.confidence)}"
    if case.called == NOT_CALLED:
        score = f"highest score {wording.percent(case.confidence)}"
    said = (
        f"<p>Labelled <b>{case.true}</b>, called <b>{matrix_words.called(case.called)}</b>, "
        f"{wording.unbroken(score)}.</p>{_bars(case)}"
    )
    if case.file in laid and laid[case.file] is None:
        said += f"<p>By Grad-CAM nothing in the picture speaks for {_explained(case)}.</p>"
    if by != BY_CONFIDENCE:
        said += f"<p>Loss {case.loss:.2f}</p>"
    st.html(
        f'<div class="kop-case">{shown}{said}{_kin(case, related.get(case.file))}'
        f"<p>{name}</p></div>"
    )


def _bars(case: CellCase) -> str:
    rows = "".join(
        f'<dt>{c.label}</dt><dd><div class="kop-bar" style="width: {100 * score:.1f}%; '
        f'background: {c.colour}"></div></dd><dd>{wording.percent(score)}</dd>'
        for c, score in zip(CLASSES, case.scores)
    )
    return f"<dl>{rows}</dl>"


def _kin(case: CellCase, known: Kin | None) -> str:
    if known is None:
        return "<p>Which radiograph it shows is not known.</p>"
    first, *conflict = known.sentences(case.file)
    others = [f for f in known.files if f != case.file]
    named = f" ({html.escape(case.radiograph)})" if case.radiograph else ""
    said = f"<p>{html.escape(first)}{named}</p>"
    if others:
        listed = "".join(f"<br>{html.escape(f)}" for f in others[:40])
        more = f"<br>and {len(others) - 40:,} more" if len(others) > 40 else ""
        said = f"<details><summary>{html.escape(first)}{named}</summary>{listed}{more}</details>"
    if conflict:
        said += f"<p><b>Label conflict.</b> {html.escape(' '.join(conflict))}</p>"
    return said


# Marks.


def _marks(model: Model) -> tuple[Marks, str]:
    """Return the marks on a model's data, and what went wrong with them."""
    wrong = [st.session_state.pop(_MARK_ERROR, "")]
    try:
        kept = marks.read(pictures.data_key(model))
    except MarkError as error:
        return Marks(), " ".join(filter(None, [*wrong, str(error)]))
    return kept, " ".join(filter(None, [*wrong, *kept.remarks]))


def _actions(model: Model, case: CellCase, images: SourceImages | None, mark: Mark | None) -> None:
    """Draw a case's mark, and what can be done with it."""
    # Another mark is another note: a field keeps what was typed, whatever it begins with now.
    of = (pictures.data_key(model), case.file, *((mark.made, mark.note) if mark else ()))
    key = hashlib.sha256("\0".join(of).encode()).hexdigest()[:12]
    if mark is not None:
        note = f": {parts.escape(mark.note)}" if mark.note else ""
        st.markdown(f":orange-badge[:material/flag: Marked {mark.kind}] {note.removeprefix(': ')}")
    with st.container(horizontal=True, vertical_alignment="center"):
        with st.popover("Mark", icon=":material/flag:"):
            st.text_area(
                "Note",
                mark.note if mark else "",
                max_chars=LONGEST_NOTE,
                key=f"note_{key}",
                placeholder="Why (optional)",
                height=90,
            )
            with st.container(horizontal=True):
                for kind in KINDS:
                    st.button(
                        kind.capitalize(), key=f"{kind}_{key}", on_click=_mark,
                        args=(model, case, images, kind, f"note_{key}", mark),
                    )  # fmt: skip
            if mark is not None:
                st.button("Remove the mark", key=f"unmark_{key}", type="tertiary",
                          on_click=_unmark, args=(pictures.data_key(model), mark))  # fmt: skip
            st.caption("Kept for this data, whichever model is looked at.")
        st.page_link(
            "pages/classify.py",
            label="Open in Classify",
            icon=":material/radiology:",
            query_params={
                "model": model.id,
                "of": model.id,
                "case": case.file,
                "back": confusion.view(),
            },
        )


def _mark(
    model: Model,
    case: CellCase,
    images: SourceImages | None,
    kind: str,
    note_key: str,
    before: Mark | None,
) -> None:
    """Keep a mark in place of the one that was shown, if that is still the one there is."""
    digest = images.digest(case.file) if images else None
    note = str(st.session_state.get(note_key) or "")
    try:
        mark = Mark(case.file, case.true, kind, note, digest or "", model.id)
        marks.put(pictures.data_key(model), mark, shown=before)
    except MarkError as error:
        st.session_state[_MARK_ERROR] = str(error)


def _unmark(fingerprint: str, shown: Mark) -> None:
    """Take away a mark that was shown, if it is still the one there is."""
    try:
        marks.remove(fingerprint, shown.file, shown=shown)
    except MarkError as error:
        st.session_state[_MARK_ERROR] = str(error)


def draw_marks(model: Model) -> None:
    """Draw the list of all marks on a model's data, folded away, with their export."""
    try:
        kept = marks.read(pictures.data_key(model))
    except MarkError:
        return  # it is said where a case would be marked
    name = source_images.data_name(model)
    count = "none" if not kept.all else f"{len(kept.all):,}"
    with st.expander(f"Marks on {parts.escape(name)}: {count}", icon=":material/flag:"):
        if not kept.all:
            st.markdown(
                "Mark a case as mislabelled or unsure to find it here again, under any model of "
                "this data. A training can leave marked files out."
            )
            return
        st.dataframe(
            [
                {"File": m.file, "Labelled": by_name(m.true).label if m.true else "",
                 "Mark": m.kind.capitalize(), "Note": m.note,
                 "Made (UTC)": m.made[:16].replace("T", " ")}
                for m in kept.all
            ],
            hide_index=True,
            height=min(36 * len(kept.all) + 38, 300),
            alt="Marks: file, label, kind, note, when",
        )  # fmt: skip
        with st.container(horizontal=True, vertical_alignment="bottom"):
            st.download_button(
                "Marks (CSV)", marks.to_csv(kept.all).encode("utf-8-sig"),
                f"kop_marks_{pictures.data_key(model)[:8]}.csv", "text/csv",
                icon=":material/download:", on_click="ignore",
            )  # fmt: skip
            doomed = st.selectbox("Mark to remove", [m.file for m in kept.all], key="mark_doomed")
            st.button("Remove", icon=":material/delete:", on_click=_unmark,
                      args=(pictures.data_key(model), kept.of(doomed)))  # fmt: skip
        st.caption(
            f"Kept in {parts.escape(str(marks.folder()))}. To leave them out of a training, choose "
            "so under Split when it is set up, or give `--leave-out-marked mislabelled` on the "
            "command line."
        )


def _download(
    model: Model, cell: cells.Cell, shown: Sequence[CellCase], related: dict[str, Kin]
) -> None:
    st.download_button(
        "These cases (CSV)",
        cells.to_csv(shown, related).encode("utf-8-sig"),
        f"{model.id}_{cell.word}.csv",
        "text/csv",
        icon=":material/download:",
        on_click="ignore",
    )


# What the network looked at.


def _maps(model: Model, images: SourceImages, here: Sequence[CellCase]) -> dict[str, str | None]:
    """Return maps of influence laid over the pictures, once they are asked for and made."""
    asked = st.toggle(
        "Show what the network looked at",
        key=_MAPS,
        help="Grad-CAM for the class that was called. TensorFlow is started for it, which takes "
        "some seconds the first time.",
    )
    if not asked:
        return {}
    known = influence.known()
    weights = model.card["checksums"]["model.keras"]
    keys = {c.file: (weights, images.digest(c.file), _explained(c)) for c in here}
    missing = [
        influence.Wanted(keys[c.file], model, c.file, partial(images.read, c.file), _explained(c))
        for c in here
        if keys[c.file] not in known
    ]
    if missing:
        future = loading.start_loading(model)
        if not future.done():
            _starting(future)
        elif wrong := influence.make(missing, lambda _: future.result()):
            st.warning(parts.escape(wrong), icon=":material/warning:")
    influence.scale()
    st.caption(
        "Right: Grad-CAM, what the network looked at for the class that it called, not the outline "
        "of a lesion. Each map runs to its own strongest place."
    )
    return {file: known[key] for file, key in keys.items() if key in known}


def _explained(case: CellCase) -> str:
    """Return the class that a map explains: the one called, else the likeliest."""
    if case.called != NOT_CALLED:
        return case.called
    return CLASSES[max(range(len(CLASSES)), key=lambda i: case.scores[i])].name


@st.fragment(run_every=1.0)
def _starting(future: Future[Classifier]) -> None:
    """Say that TensorFlow starts; the page is drawn anew when it has."""
    if future.done():
        st.rerun()
    st.caption(":material/hourglass_empty: Starting TensorFlow and loading the model.")
