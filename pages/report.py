"""Model report: how good is this model, and how far can it be trusted?"""

from __future__ import annotations

import json

import streamlit as st

from dashboard import parts
from dashboard import report as kept
from dashboard.evaluated import chart, say, table, where_it_fails
from kop_core import model_store, wording
from kop_core.errors import KopError
from kop_core.evaluation import Report, html, model_card, words
from kop_core.figures import evaluation as figures
from kop_core.model_store import Model

SENSITIVITIES = (0.80, 0.85, 0.90, 0.95, 0.99)
COVERAGES = (0.80, 0.90, 0.95, 0.99)


def main() -> None:
    """Draw the page."""
    parts.begin("pages/report.py")
    st.title("Model report", anchor=False)
    by_id = parts.models_here()
    if not by_id:
        return
    choice, downloads = st.columns([1.4, 1], gap="medium", vertical_alignment="bottom")
    with choice:
        model = by_id[parts.choose_model(by_id, "report_of")]
    try:
        with st.spinner("Measuring the model on its test part. Some seconds, once."):
            checksum, report = kept.measured(model)
    except KopError as error:
        st.error(parts.escape(str(error)), icon=":material/error:")
        return
    with downloads:
        _downloads(model, report)
    _answer(model, report)
    _how_good(report)
    where_it_fails(report, "confusion")
    st.page_link(
        "pages/confusion.py",
        label="See the X-rays in each cell",
        icon=":material/grid_on:",
        query_params={"model": model.id},
    )
    _curves(report)
    _calibration(model, report)
    _operating(model, checksum)
    _conformal(model, checksum)
    _card(model)
    parts.not_a_device()


def _downloads(model: Model, report: Report) -> None:
    with st.container(horizontal=True, horizontal_alignment="right"):
        st.download_button(
            "Report (HTML)",
            lambda: html.page_of(model, report),
            f"{model.id}_report.html",
            "text/html",
            icon=":material/download:",
            on_click="ignore",
            help="One file with all figures, for a colleague; it opens without a network.",
        )
        st.download_button(
            "Figures (JSON)",
            lambda: json.dumps(report.get_config(), indent=2, ensure_ascii=False),
            f"{model.id}_metrics.json",
            "application/json",
            icon=":material/download:",
            on_click="ignore",
        )


def _answer(model: Model, report: Report) -> None:
    first, *others = words.answer(report.evaluation, model.card["split"])
    st.html(f'<p class="kop-verdict">{wording.unbroken(first)}</p>')
    parts.split_badge(model.card["split"])
    say(*others)
    parts.cautions(model)


def _how_good(report: Report) -> None:
    measured = report.evaluation
    st.subheader("How good", anchor=False)
    left, right = st.columns(2, gap="medium")
    with left:
        chart(
            figures.intervals_by_class(measured),
            "intervals",
            "Figures of each class with 95 % intervals; the same as in the table below",
        )
    with right:
        table(words.overall_table(measured), "Figures of all classes together")
    table(words.class_table(measured), "Figures by class with 95 % intervals")
    st.caption(f"In brackets: 95 % intervals. All on {words.basis(measured)}.")


def _curves(report: Report) -> None:
    measured = report.evaluation
    st.subheader("How well it tells each class from the rest", anchor=False)
    left, right = st.columns(2, gap="medium")
    with left:
        st.markdown("**ROC**")
        chart(figures.roc(report.roc, measured), "roc", "ROC curve of each class")
    with right:
        st.markdown("**Precision and recall**")
        chart(
            figures.precision_recall(report.precision_recall, measured),
            "precision_recall",
            "Precision-recall curve of each class",
        )


def _calibration(model: Model, report: Report) -> None:
    found = report.calibration
    st.subheader("Whether its scores can be read as probabilities", anchor=False)
    say(*words.calibration(found, report.evaluation), *words.served(model.card))
    left, right = st.columns(2, gap="medium")
    with left:
        st.markdown("**All test images**")
        chart(
            figures.reliability([("As it is", found.bins)]),
            "reliability",
            "Reliability diagram; its table is below",
        )
    tried = found.temperature
    if tried is not None:
        with right:
            st.markdown("**The half that the temperature was not fitted on**")
            series = [("Without", tried.bins_before), ("With temperature", tried.bins_after)]
            chart(figures.reliability(series), "temperature", "Reliability before and after")
        table(words.calibration_table(tried), "Before and after temperature scaling")
    with st.expander("The reliability diagram as a table"):
        table(words.reliability_table(found), "Reliability by score")


def _operating(model: Model, checksum: str) -> None:
    st.subheader("What a target sensitivity costs", anchor=False)
    target = st.segmented_control(
        "Target sensitivity",
        SENSITIVITIES,
        default=0.90,
        format_func=wording.percent,
        key="sensitivity",
        required=True,
        help="The share of those labelled as having the condition that should be found. The "
        "threshold is chosen on one half of the radiographs and measured on the other.",
    )
    points = kept.operating(checksum, target, model.folder / model_store.PREDICTIONS)
    for sentence in (*words.operating(points), *words.before_temperature(model.card)):
        say(sentence)
    table(words.operating_table(points), "Thresholds, and what they do on other radiographs")


def _conformal(model: Model, checksum: str) -> None:
    st.subheader("Sets of classes that hold the label as often as asked", anchor=False)
    coverage = st.segmented_control(
        "Target coverage",
        COVERAGES,
        default=0.90,
        format_func=wording.percent,
        key="coverage",
        required=True,
        help="Conformal prediction: in place of one class, all that cannot be ruled out.",
    )
    found = kept.conformal(checksum, coverage, model.folder / model_store.PREDICTIONS)
    say(*words.conformal(found), *words.before_temperature(model.card))
    table(words.conformal_table(found), "Coverage by class")


def _card(model: Model) -> None:
    st.subheader("Its card", anchor=False)
    for title, sections in words.card_parts(model_card.sections(model.card)):
        with st.expander(title):
            for section in sections:
                st.markdown(f"**{parts.escape(words.card_heading(section))}**")
                if known := [(item.name, item.text) for item in section.items if item.known]:
                    parts.facts(known)
                if unknown := words.unknown(section):
                    st.caption(parts.escape(unknown))


main()
