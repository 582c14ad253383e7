"""A report as one file of HTML: the figures, the words, the model's card."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from html import escape
from typing import TYPE_CHECKING, Any

from kop_core import html_file, wording
from kop_core.evaluation import model_card, words
from kop_core.evaluation.model_card import Section
from kop_core.evaluation.reporting import Report

if TYPE_CHECKING:
    import plotly.graph_objects as go

    from kop_core.model_store import Model

_STYLE = """
h1 {font-size: 1.6rem; margin: 0 0 .3rem;} h2 {font-size: 1.2rem; margin: 2rem 0 .4rem;}
.answer {font-size: 1.1rem;}
.badge {display: inline-block; background: var(--soft); border: 1px solid var(--line);
  border-radius: 6px; padding: .1rem .5rem; font-size: .9rem;}
.warning {background: var(--warn); color: var(--warn-ink);}
.figures {gap: 1rem; grid-template-columns: minmax(0, 1fr);}
@media (min-width: 880px) {.two {grid-template-columns: repeat(2, minmax(0, 1fr));}}
.square {max-width: 600px;}
summary {cursor: pointer; font-weight: 600; margin: .6rem 0;}
h3 {font-size: 1rem; margin: 1rem 0 .2rem;}
.wide {overflow-x: auto;}
table {border-collapse: collapse; font-size: .9rem; margin: .6rem 0;}
th, td {border-bottom: 1px solid var(--line); padding: .3rem .8rem .3rem 0; text-align: left;
  vertical-align: top; overflow-wrap: normal;}
"""


def page(
    report: Report,
    title: str,
    split: dict[str, Any] | None = None,
    cautions: Sequence[str] = (),
    card: Sequence[Section] = (),
    served: Sequence[str] = (),
    before: Sequence[str] = (),
) -> str:
    """Return a report as HTML that needs nothing but a browser.

    Args:
        report: what was measured.
        title: the model's name, or the file's.
        split: what the model's card says of the split; ``None`` if it is not known.
        cautions: faults that were found in the model, as sentences.
        card: the model's card as text, see :func:`kop_core.evaluation.model_card.sections`.
        served: sentences on which outputs are shown where the model is used.
        before: sentences on what that means for thresholds.
    """
    body = [
        f"<h1>{escape(title)}</h1>",
        _badge(split),
        "".join(
            f'<p class="answer">{escape(wording.unbroken(s))}</p>'
            for s in words.answer(report.evaluation, split)
        ),
        "".join(f'<p class="badge warning">{escape(wording.unbroken(s))}</p>' for s in cautions),
        *(_section(*section) for section in _sections(report, served, before)),
        _card(card),
        f'<p class="foot">Intervals: {escape(report.evaluation.get_config()["interval"])}. '
        f"{escape(wording.NOT_A_DEVICE)}</p>",
    ]
    return html_file.document(f"Model report: {title}", _STYLE, body)


def page_of(model: Model, report: Report) -> str:
    """Return the report of a model as HTML, with its split, cautions and card."""
    return page(
        report,
        model.title,
        model.card["split"],
        model.cautions,
        model_card.sections(model.card),
        words.served(model.card),
        words.before_temperature(model.card),
    )


def _badge(split: dict[str, Any] | None) -> str:
    text, warning = wording.split_badge(split) if split else ("split not known", True)
    return f'<p class="badge{" warning" if warning else ""}">{escape(text)}</p>'


def _sections(
    report: Report, served: Sequence[str], before: Sequence[str]
) -> Iterable[tuple[str, list[str]]]:
    from kop_core.figures import evaluation as figures

    measured = report.evaluation
    yield (
        "How good",
        [
            _figures(("By class, with 95 % intervals", figures.intervals_by_class(measured))),
            _table(words.class_table(measured)),
            _table(words.overall_table(measured)),
            _text(f"In brackets: 95 % intervals. All on {words.basis(measured)}."),
        ],
    )
    yield (
        "Where it fails",
        [
            _text(words.mistakes(measured)),
            '<div class="square">'
            + _figures(("Images, and shares of each row", figures.confusion(measured)))
            + "</div>",
        ],
    )
    yield (
        "How well it tells each class from the rest",
        [
            _figures(
                ("ROC", figures.roc(report.roc, measured)),
                (
                    "Precision and recall",
                    figures.precision_recall(report.precision_recall, measured),
                ),
            )
        ],
    )
    yield "Whether its scores can be read as probabilities", _calibration(report, served)
    yield (
        "What a target sensitivity costs",
        [
            *(_text(s) for s in (*words.operating(report.operating_points), *before)),
            _table(words.operating_table(report.operating_points)),
        ],
    )
    yield (
        "Sets of classes that hold the label as often as asked",
        [
            *(_text(s) for s in (*words.conformal(report.conformal), *before)),
            _table(words.conformal_table(report.conformal)),
        ],
    )


def _calibration(report: Report, served: Sequence[str]) -> list[str]:
    from kop_core.figures import evaluation as figures

    found = report.calibration
    shown = [("All test images", figures.reliability([("As it is", found.bins)]))]
    parts = [_text(s) for s in (*words.calibration(found, report.evaluation), *served)]
    if found.temperature is not None:
        tried = found.temperature
        series = [("Without temperature", tried.bins_before), ("With it", tried.bins_after)]
        shown.append(("The half not used for fitting", figures.reliability(series)))
        parts.append(_table(words.calibration_table(tried)))
    return [*parts, _figures(*shown), _table(words.reliability_table(found))]


def _section(heading: str, parts: Iterable[str]) -> str:
    return f"<section><h2>{escape(heading)}</h2>\n" + "\n".join(parts) + "</section>"


def _card(sections: Sequence[Section]) -> str:
    parts = []
    for title, part in words.card_parts(sections):
        parts.append(f"<details><summary>{escape(title)}</summary>")
        for section in part:
            rows = "".join(
                f'<tr><th scope="row">{escape(i.name)}</th><td>{escape(i.text)}</td></tr>'
                for i in section.items
                if i.known
            )
            parts.append(f"<h3>{escape(words.card_heading(section))}</h3>")
            parts.append(f'<div class="wide"><table>{rows}</table></div>' if rows else "")
            parts.append(_text(words.unknown(section)))
        parts.append("</details>")
    return _section("Its card", parts) if parts else ""


def _text(sentence: str) -> str:
    return f"<p>{escape(wording.unbroken(sentence))}</p>" if sentence else ""


def _table(rows: Sequence[dict[str, str]]) -> str:
    if not rows:
        return ""
    head = "".join(f"<th>{escape(name)}</th>" for name in rows[0])
    body = "".join(
        "<tr>"
        + "".join(f"<td>{escape(wording.unbroken(row.get(name, '')))}</td>" for name in rows[0])
        + "</tr>"
        for row in rows
    )
    return f'<div class="wide"><table><tr>{head}</tr>{body}</table></div>'


def _figures(*shown: tuple[str, go.Figure]) -> str:
    look = "figures two" if len(shown) == 2 else "figures"
    return html_file.figures(shown, "kop_report", look)
