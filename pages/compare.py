"""Compare: which of these models is better, and can that be told from this test part?"""

from __future__ import annotations

import html
import json

import streamlit as st
from streamlit.delta_generator import DeltaGenerator

from dashboard import compared as kept
from dashboard import disagreeing, parts
from dashboard.evaluated import chart, say, table
from kop_core import model_store, wording
from kop_core.classes import CLASSES, by_name
from kop_core.errors import KopError
from kop_core.evaluation import compared_words as words
from kop_core.evaluation.compared import FIGURES, METRICS, Compared
from kop_core.evaluation.compared_csv import to_csv
from kop_core.figures import comparing as figures
from kop_core.model_store import Model

AT_FIRST = 4
MOST_FIGURES = 6
# In pixels; together as wide as a window of 1024 allows.
WIDTHS = {
    "Model": 312, "Id": 118, "Accuracy (95 % CI)": 122, "Split": 100, "Copies in training": 140,
    "Tested on": 128,
}  # fmt: skip
_ROW = 38


def main() -> None:
    """Draw the page."""
    parts.begin("pages/compare.py")
    head, downloads = st.columns([1.4, 1], gap="medium", vertical_alignment="bottom")
    head.title("Compare models", anchor=False)
    models, broken = model_store.list_models()
    parts.broken_models(broken)
    if not models and not broken:
        parts.no_models()
    chosen = _choose(models) if models else []
    if chosen:
        _compare(chosen, downloads)
    elif models:
        st.info(
            "Choose two or more rows above to see them side by side.", icon=":material/checklist:"
        )
    _literature()
    parts.not_a_device()


def _choose(models: list[Model]) -> list[Model]:
    """Draw the table of the models, and return those whose rows are chosen.

    The choice is kept in the page's address. A model that is in the address and gone from the
    folder stays there, and is named, until another choice is made.
    """
    ids = [m.id for m in models]
    said = st.query_params.get("models")
    asked = ids[:AT_FIRST] if said is None else [i for i in said.split(",") if i]
    gone = [i for i in asked if i not in ids]
    st.caption("Choose rows to see them side by side. The page's address keeps the choice.")
    place = st.container()
    table_of_models = st.dataframe(
        [words.model_row(m) for m in models],
        column_config={
            name: st.column_config.TextColumn(width=width) for name, width in WIDTHS.items()
        },
        hide_index=True,
        row_height=_ROW,
        height=min(_ROW * len(models) + 40, 330),
        on_select="rerun",
        selection_mode="multi-row",
        selection_default={"selection": {"rows": [ids.index(i) for i in asked if i in ids]}},
        # Other models are another table: a row chosen in the last one means nothing here.
        key=f"models_{','.join(ids)}",
        alt="The models, a row each: accuracy with its interval, split and test part",
    )
    rows = table_of_models["selection"]["rows"]
    chosen = [models[place] for place in rows if place < len(models)]
    if said is None or {m.id for m in chosen} != set(asked) - set(gone):
        st.query_params["models"] = ",".join(m.id for m in chosen)
    else:
        _say_gone(place, gone, bool(chosen))
    return chosen


def _say_gone(place: DeltaGenerator, gone: list[str], others: bool) -> None:
    for name in gone:
        place.warning(
            parts.escape(
                f"There is no model called {name[:100]} here: it was deleted, renamed or cannot be "
                f"read.{' The others are compared.' if others else ''}"
            ),
            icon=":material/warning:",
        )


def _compare(models: list[Model], downloads: DeltaGenerator) -> None:
    left, right = st.columns([2.6, 1], gap="medium", vertical_alignment="bottom")
    names = left.multiselect(
        "Figures",
        METRICS,
        default=FIGURES,
        format_func=words.title,
        max_selections=MOST_FIGURES,
        key="figures",
        help="The first is the one that the answer below is about.",
    )
    with_ensemble = right.toggle(
        "With their ensemble",
        key="ensemble",
        bind="query-params",
        help="One more row: the mean of the probabilities of the models chosen.",
    )
    try:
        with st.spinner("Measuring and testing. Some seconds, once."):
            entries, failed = kept.read(models)
            found = kept.compare(entries, names or FIGURES, with_ensemble, failed)
    except KopError as error:
        st.error(parts.escape(str(error)), icon=":material/error:")
        return
    for name, reason in failed:
        st.error(parts.escape(words.not_compared(name, reason)), icon=":material/error:")
    if not found.entries:
        return
    with downloads:
        _downloads(found)
    _answer(found)
    if len(found.entries) < 2:
        st.page_link(
            "pages/train.py", label="Train and publish another", icon=":material/model_training:"
        )  # fmt: skip
    _how_good(found)
    if found.pairs:
        _tests(found)
    _curves(found)
    _reliability_and_learning(found)
    _size(found)
    if found.tested:
        st.subheader("Where they disagree", anchor=False)
        disagreeing.draw(found)


def _downloads(found: Compared) -> None:
    from kop_core.evaluation.compared_html import page

    with st.container(horizontal=True, horizontal_alignment="right"):
        for label, made, kind, holds in (
            (
                "HTML",
                lambda: page(found),
                "text/html",
                "All of this page but the pictures, for any browser.",
            ),
            (
                "CSV",
                lambda: to_csv(found).encode("utf-8-sig"),
                "text/csv",
                "All of this page but the pictures, as one table.",
            ),
            (
                "JSON",
                lambda: json.dumps(found.get_config(), indent=2, ensure_ascii=False),
                "application/json",
                "Figures, tests and matrices, for a program. Curves and cases are in the CSV.",
            ),
        ):
            st.download_button(
                label, made, f"kop_comparison.{label.lower()}", kind,
                icon=":material/download:", on_click="ignore", help=holds,
            )  # fmt: skip


def _answer(found: Compared) -> None:
    first, *others = words.answer(found)
    st.html(f'<p class="kop-verdict">{html.escape(wording.unbroken(first))}</p>')
    if others:
        say(*others)
    for sentence in words.warnings(found):
        st.warning(parts.escape(wording.unbroken(sentence)), icon=":material/warning:")


def _how_good(found: Compared) -> None:
    st.subheader("How good each is", anchor=False)
    _escaped(words.figures_table(found), "The figures of every model with 95 % intervals")
    for sentence in words.ensemble_note(found):
        say(sentence)
    st.caption(parts.escape(words.interval_note(found)))


def _escaped(rows: list[dict[str, str]], alt: str) -> None:
    """Draw rows in which a title may hold what it likes."""
    table([{k: parts.escape(v) for k, v in row.items()} for row in rows], alt)


def _tests(found: Compared) -> None:
    st.subheader("Which differ", anchor=False)
    if found.tested:
        figure = st.segmented_control(
            "Difference in",
            found.figures,
            default=found.figures[0],
            format_func=words.title,
            key="tested",
            required=True,
        )
        figure = figure if figure in found.figures else found.figures[0]
        left, right = st.columns([1.15, 1], gap="medium")
        with left:
            _escaped(words.pairs_table(found, figure), "Paired differences with p-values")
        with right:
            _escaped(words.mcnemar_table(found), "McNemar's exact test, a vote a radiograph")
        st.caption(parts.escape(words.how_tested(found)))
    if untested := words.untested_table(found):
        st.markdown("**Not tested against each other**")
        _escaped(untested, "Pairs that are not tested, with the reason")


def _curves(found: Compared) -> None:
    st.subheader("How well each tells a class from the rest", anchor=False)
    names = [c.name for c in CLASSES]
    chosen = st.segmented_control(
        "Class",
        names,
        default=names[-1],
        format_func=lambda name: by_name(name).label,
        key="class",
        required=True,
        bind="query-params",
    )
    left, right = st.columns(2, gap="medium")
    with left:
        st.markdown("**ROC**")
        alt = f"ROC curves of {chosen}; the areas are in the legend"
        chart(figures.roc(found.entries, chosen), "compared_roc", alt)
    with right:
        st.markdown("**Precision and recall**")
        alt = f"Precision-recall curves of {chosen}; average precisions are in the legend"
        chart(figures.precision_recall(found.entries, chosen), "compared_precision_recall", alt)


def _reliability_and_learning(found: Compared) -> None:
    left, right = st.columns(2, gap="medium")
    with left:
        st.subheader("Whether scores can be read as probabilities", anchor=False)
        alt = "Reliability of every model: how often the class called was right, by its score"
        chart(figures.reliability(found.entries), "compared_reliability", alt)
        st.caption(words.RELIABILITY_NOTE)
    with right:
        st.subheader("How each learned", anchor=False)
        if not any(e.history for e in found.entries):
            say("None of these models has a history that can be read.")
            return
        columns = {"val_accuracy": "Accuracy", "val_loss": "Loss"}
        chosen = st.segmented_control(
            "Curve",
            list(columns),
            default="val_accuracy",
            format_func=columns.get,
            key="curve",
            required=True,
            label_visibility="collapsed",
        )
        alt = f"{columns[chosen]} on the watched part by epoch, a line a model"
        chart(figures.learning(found.entries, chosen), "compared_learning", alt)
        silent = [e.key for e in found.entries if not e.history and not e.members]
        if silent:
            st.caption(parts.escape(f"Without a history that can be read: {', '.join(silent)}."))


def _size(found: Compared) -> None:
    st.subheader("Speed and size", anchor=False)
    place = st.empty()
    if any(e.speed is None and not e.members for e in found.entries) and st.button(
        "Measure the speed here",
        icon=":material/speed:",
        help="Classifies twenty images with each model, one at a time. TensorFlow is started.",
    ):
        wrong = kept.measure_speed(found.entries)
        for sentence in wrong:
            st.error(parts.escape(sentence), icon=":material/error:")
        if not wrong:
            st.rerun()  # every figure of these models is made anew, with the speed
    with place.container():
        _escaped(words.size_table(found.entries), "Parameters, file size and speed")
        if note := words.speed_note(found.entries):
            st.caption(parts.escape(note))


def _literature() -> None:
    st.subheader("The literature, on other data", anchor=False)
    _escaped(words.published_table(), "What the literature reports: Table 3 of the paper")
    st.caption(words.PUBLISHED_NOTE)


main()
