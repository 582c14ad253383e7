"""Confusion: what does the model take for what, and which X-rays are these?"""

from __future__ import annotations

import streamlit as st

from dashboard import confusion, confusion_cases, parts
from dashboard.evaluated import say
from kop_core import wording
from kop_core.errors import KopError
from kop_core.evaluation import Predictions, matrix_words
from kop_core.evaluation.matrix import MOST_LIKELY, Difference, Matrix, Rule
from kop_core.model_store import Model

STYLE = """
<style>
/* The matrix stays in sight while its cases are gone through. */
[data-testid="stColumn"]:has(> * > * > * .kop-stays) {
  position: sticky; top: 3.9rem; align-self: flex-start;}
</style>
"""


def main() -> None:
    """Draw the page."""
    parts.begin("pages/confusion.py")
    st.html(STYLE)
    st.title("Confusion", anchor=False)
    by_id = parts.models_here()
    if not by_id:
        return
    confusion.take_click()
    which, beside, called, cells = st.columns([1.4, 1, 0.95, 1.15], gap="small")
    with which:
        model = by_id[parts.choose_model(by_id, "confusion_of")]
    with beside:
        other = confusion.choose_other(by_id, model.id)
    with called:
        kind = confusion.choose_rule()
    with cells:
        shown = confusion.choose_shown()
    mine = _read(model)
    others = _read(other) if other else None
    if mine is not None and other is not None and others is not None:
        _two((model, other), (mine, others), kind, shown)
    elif mine is not None:
        _one(model, mine, kind, shown)
    elif other is not None and others is not None:
        _one(other, others, kind, shown)
    else:
        confusion.draw_published()
        confusion_cases.draw_marks(model)
    parts.not_a_device()


def _read(model: Model) -> tuple[str, Predictions] | None:
    """Return a model's predictions with their checksum; say it where they cannot be had."""
    try:
        return confusion.predictions_of(model)
    except KopError as error:
        st.error(parts.escape(f"{model.title} has no matrix. {error}"), icon=":material/error:")
        return None


def _one(model: Model, mine: tuple[str, Predictions], kind: str, shown: str) -> None:
    """Draw one matrix, large, with the cases of the chosen cell beside it."""
    left, right = st.columns([1, 1.05], gap="large")
    with left:
        accuracy = wording.unbroken(parts.accuracy(model))
        st.html(f'<p class="kop-verdict kop-stays">Accuracy {accuracy}</p>')
        parts.split_badge(model.card["split"])
        rule = confusion.rule_of(kind)
        confusion.fill_cell(rule)
        found = confusion.matrix_of(mine[0], rule, mine[1])
        say(*_moved(rule), matrix_words.answer(found))
        confusion.draw_one(found, shown)
        parts.cautions(model)
    with right:
        cell, _ = confusion.choose_cell(rule, model, None)
        confusion_cases.draw(model, mine[1], rule, cell)
    _below(model, (model,), (found,), None)


def _two(
    models: tuple[Model, Model],
    read: tuple[tuple[str, Predictions], tuple[str, Predictions]],
    kind: str,
    shown: str,
) -> None:
    """Draw two matrices and their difference, with the cases of the chosen cell below."""
    checksums, tables = zip(*read)
    rule = confusion.rule_of(kind)
    confusion.fill_cell(rule)
    if moved := _moved(rule):
        say(*moved)
    found = tuple(confusion.matrix_of(c, rule, p) for c, p in read)
    apart = confusion.draw_two(models, tables, checksums, found, shown)
    cell, side = confusion.choose_cell(rule, *models)
    place = 1 if side == confusion.B else 0
    confusion_cases.draw(models[place], tables[place], rule, cell, columns=3)
    _below(models[place], models, found, apart)


def _moved(rule: Rule) -> list[str]:
    """Return what a rule that is not the plain one does; the accuracy is of the plain one."""
    if rule.kind == MOST_LIKELY:
        return []
    return [matrix_words.rule(rule), "Every accuracy here is that of the most likely class."]


def _below(
    model: Model, models: tuple[Model, ...], found: tuple[Matrix, ...], apart: Difference | None
) -> None:
    confusion.draw_tables(models, found, apart)
    confusion.draw_published()
    confusion_cases.draw_marks(model)


main()
