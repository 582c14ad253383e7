"""Models side by side as one file of HTML: tables, tests, curves, and the literature apart."""

from __future__ import annotations

from collections.abc import Iterable
from html import escape

from kop_core import html_file, wording
from kop_core.classes import CLASSES
from kop_core.evaluation import compared_words as words
from kop_core.evaluation.compared import Compared, disagreements
from kop_core.evaluation.html import _STYLE, _badge, _section, _table, _text

# A longer list of pictures is read in the CSV.
MOST_CASES = 200


def page(compared: Compared) -> str:
    """Return a comparison as HTML that needs nothing but a browser."""
    body = [
        "<h1>Models compared</h1>",
        *(f'<p class="answer">{escape(wording.unbroken(s))}</p>' for s in words.answer(compared)),
        *(
            f'<p class="badge warning">{escape(wording.unbroken(s))}</p>'
            for s in words.warnings(compared)
        ),
        *(_text(words.not_compared(name, reason)) for name, reason in compared.failed),
        *(_section(heading, parts) for heading, parts in _sections(compared)),
        f'<p class="foot">{escape(wording.NOT_A_DEVICE)}</p>',
    ]
    return html_file.document("Models compared", _STYLE, body)


def _sections(compared: Compared) -> Iterable[tuple[str, list[str]]]:
    from kop_core.figures import comparing as figures

    entries = compared.entries
    badges = "".join(
        f"<p>{escape(entry.label)} ({escape(entry.key)})</p>{_badge(entry.split)}"
        for entry in entries
    )
    yield (
        "How good each is",
        [
            _table(words.figures_table(compared)),
            _text(words.interval_note(compared)),
            *(_text(sentence) for sentence in words.ensemble_note(compared)),
            f"<details><summary>How each was split</summary>{badges}</details>",
        ],
    )
    if compared.tested:
        tables = [_table(words.pairs_table(compared, figure)) for figure in compared.figures]
        tested = [*tables, _table(words.mcnemar_table(compared)), _text(words.how_tested(compared))]
        yield "Which differ", tested
    if untested := words.untested_table(compared):
        yield "Not tested against each other", [_table(untested)]
    yield "How well each tells a class from the rest", [_curves(compared)]
    reliability = ("Reliability", figures.reliability(entries))
    yield (
        "Whether scores can be read as probabilities",
        [_figures(reliability), _text(words.RELIABILITY_NOTE)],
    )
    if any(entry.history for entry in entries):
        yield (
            "How each learned",
            [
                _figures(
                    ("Accuracy", figures.learning(entries, "val_accuracy")),
                    ("Loss", figures.learning(entries, "val_loss")),
                )
            ],
        )
    sizes = [_table(words.size_table(entries)), _text(words.speed_note(entries))]
    yield "Speed and size", sizes
    if compared.tested:
        yield "Where they disagree", [_cases(compared)]
    yield (
        "The literature, on other data",
        [_table(words.published_table()), _text(words.PUBLISHED_NOTE)],
    )


def _curves(compared: Compared) -> str:
    from kop_core.figures import comparing as figures

    return "".join(
        f"<h3>{escape(c.label)}</h3>"
        + _figures(
            ("ROC", figures.roc(compared.entries, c.name)),
            ("Precision and recall", figures.precision_recall(compared.entries, c.name)),
        )
        for c in CLASSES
    )


def _cases(compared: Compared) -> str:
    parts = []
    for pair in compared.tested:
        found = disagreements(
            *(compared.entry(key).predictions for key in (pair.first, pair.second))
        )
        said = words.disagreement_note(found, pair.first, pair.second)
        table = words.disagreement_table(found[:MOST_CASES], pair.first, pair.second)
        left = len(found) - MOST_CASES
        more = _text(f"{left:,} more are left out here.") if left > 0 else ""
        parts.append(
            f"<details><summary>{escape(pair.first)}, {escape(pair.second)}</summary>"
            f"{_text(said)}{_table(table)}{more}</details>"
        )
    return "".join(parts)


def _figures(*shown) -> str:
    return html_file.figures(shown, "kop_compare", "figures two" if len(shown) > 1 else "figures")
