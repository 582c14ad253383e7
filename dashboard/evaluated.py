"""What was measured of a model, drawn alike on its report and at the end of its run."""

from __future__ import annotations

from typing import Any

import streamlit as st

from dashboard import parts
from kop_core import wording
from kop_core.evaluation import Report, words
from kop_core.figures import evaluation as figures
from kop_core.figures.style import chart_config

# Pixels; no wider: a sentence of the whole window's width is hard to read.
LINE = 920


def say(*sentences: str) -> None:
    """Draw sentences as one paragraph."""
    st.markdown(parts.escape(wording.unbroken(" ".join(sentences))), width=LINE)


def chart(figure: Any, name: str, alt: str) -> None:
    """Draw a figure that downloads under a name, with its words for a screen reader."""
    st.plotly_chart(figure, config=chart_config(f"kop_{name}"), key=name, alt=alt)


def table(rows: list[dict[str, str]], alt: str) -> None:
    """Draw rows of words, in which a figure and its interval are not broken apart."""
    whole = [{name: wording.unbroken(text) for name, text in row.items()} for row in rows]
    st.table(whole, border="horizontal", hide_index=True, alt=alt)


def where_it_fails(report: Report, name: str) -> None:
    """Draw the confusion matrix and the mistakes that matter in words.

    Args:
        report: of the model.
        name: of the matrix, when it is downloaded.
    """
    measured = report.evaluation
    st.subheader("Where it fails", anchor=False)
    left, right = st.columns(2, gap="medium")
    with left:
        chart(
            figures.confusion(measured),
            name,
            "Confusion matrix, the same as in the table beside it",
        )
    with right:
        say(words.mistakes(measured))
        table(words.confusion_table(measured), "Confusion matrix: counts, shares of each row")
        st.caption("Rows: the label. Columns: what the model called it. Shares are of the row.")
