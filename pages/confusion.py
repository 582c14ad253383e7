"""Confusion: what does the model take for what, and which X-rays are these?"""

from __future__ import annotations

import streamlit as st

from dashboard import confusion, confusion_cases, parts
from dashboard.evaluated import say
from kop_core import model_store
from kop_core.errors import KopError
from kop_core.evaluation import Predictions, matrix_words, words
from kop_core.evaluation.matrix import MOST_LIKELY, Rule
from kop_core.model_store import Model

STYLE = """
<style>
[data-testid="stTable"] th, [data-testid="stTable"] th * {color: inherit !important;}
</style>
"""


def main() -> None:
    """Draw the page."""
    parts.begin("pages/confusion.py")
    st.html(STYLE)
    st.title("Confusion", anchor=False)
    models, broken = model_store.list_models()
    parts.broken_models(broken)
    if not models:
        if not broken:
            parts.no_models()
        return
    by_id = {m.id: m for m in models}
    asked = st.query_params.get("model")
    if asked and asked not in by_id and asked not in {b.id for b in broken}:
        st.warning(
            f"There is no model called {parts.escape(asked[:100])} here: it was deleted or "
            f"renamed. Showing {parts.escape(models[0].title)}.",
            icon=":material/warning:",
        )
    confusion.take_click()
    left, right = st.columns(2, gap="medium")
    with left:
        model = by_id[parts.choose_model(by_id, "confusion_of")]
    with right:
        other = confusion.choose_other(by_id, model.id)
    mine = _read(model)
    if mine is not None:
        _confusion(model, mine, other, _read(other) if other else None)
    parts.not_a_device()


def _read(model: Model) -> tuple[str, Predictions] | None:
    """Return a model's predictions with their checksum; say it where they cannot be had."""
    try:
        return confusion.predictions_of(model)
    except KopError as error:
        st.error(parts.escape(f"{model.title} has no matrix. {error}"), icon=":material/error:")
        return None


def _confusion(
    model: Model,
    mine: tuple[str, Predictions],
    other: Model | None,
    others: tuple[str, Predictions] | None,
) -> None:
    """Draw one matrix with its cases beside it, or two with theirs below."""
    _answer(model)
    if other is None or others is None:
        left, right = st.columns([1, 1.05], gap="large")
        with left:
            rule, shown = _settings()
            found = confusion.matrix_of(mine[0], rule, mine[1])
            _said(rule, matrix_words.answer(found))
            confusion.draw_one(found, shown)
        with right:
            cell, _ = confusion.choose_cell(rule, model, None)
            confusion_cases.draw(model, mine[1], rule, cell)
        confusion.draw_tables((model.title,), (found,), None)
    else:
        rule, shown = _settings()
        _said(rule, "")
        pair = tuple(confusion.matrix_of(c, rule, p) for c, p in (mine, others))
        apart = confusion.draw_two(
            (model, other), (mine[1], others[1]), (mine[0], others[0]), pair, shown
        )
        cell, side = confusion.choose_cell(rule, model, other)
        whose, said = (other, others[1]) if side == confusion.B else (model, mine[1])
        confusion_cases.draw(whose, said, rule, cell, columns=3)
        names = parts.model_names((model, other))
        confusion.draw_tables((names[model.id], names[other.id]), pair, apart)
    confusion.draw_published()
    confusion_cases.draw_marks(model)


def _answer(model: Model) -> None:
    st.html(f'<p class="kop-verdict">Accuracy {words.unbroken(parts.accuracy(model))}</p>')
    parts.split_badge(model.card["split"])
    for caution in model.cautions:
        st.warning(parts.escape(caution), icon=":material/warning:")


def _settings() -> tuple[Rule, str]:
    rule = confusion.choose_rule()
    confusion.fill_cell(rule)
    return rule, confusion.choose_shown()


def _said(rule: Rule, answer: str) -> None:
    moved = matrix_words.rule(rule) if rule.kind != MOST_LIKELY else ""
    say(*filter(None, (moved, answer)))


main()
