"""An audit as one file of HTML: the figures, small pictures, the words."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from html import escape
from typing import TYPE_CHECKING

import kop_core
from kop_core import html_file, wording
from kop_core.classes import CLASS_NAMES
from kop_core.datasets.audit import browsing, words
from kop_core.datasets.audit.browsing import Group

if TYPE_CHECKING:
    import plotly.graph_objects as go

    from kop_core.datasets.audit.report import AuditReport, FileFacts
    from kop_core.datasets.scanning import DataSet


@dataclass(frozen=True)
class Bounds:
    """How much goes into one file.

    Attributes:
        conflicts: conflicted radiographs that are shown.
        groups: other radiographs with copies that are shown, the largest.
        pictures: files of one radiograph that are shown.
        side: pixels of a picture's longer side.
        bytes: of all pictures together, as JPEG.
        listed: rows of files that were unreadable or passed over.
    """

    conflicts: int = 60
    groups: int = 20
    pictures: int = 8
    side: int = 176
    bytes: int = 12 * 2**20
    listed: int = 200


BOUNDS = Bounds()

_STYLE = """
h1 {font-size: 1.1rem; margin: 0; font-weight: 600;}
h2 {font-size: 1.3rem; margin: 2.4rem 0 .4rem;}
h3 {font-size: 1rem; margin: 1.2rem 0 .1rem;}
nav ul {display: flex; flex-wrap: wrap; gap: .2rem 1.1rem; list-style: none; padding: 0;}
a {color: var(--link);}
.answer {font-size: 2rem; line-height: 1.2; font-weight: 650; margin: .3rem 0 .6rem;}
.note {background: var(--warn); color: var(--warn-ink); border-radius: 6px; padding: .3rem .7rem;}
.figures {grid-template-columns: repeat(auto-fill, minmax(min(100%, 440px), 1fr));
  gap: 1rem 2rem;}
.groups {display: flex; flex-wrap: wrap; gap: .8rem; margin: .8rem 0;}
.group {border: 1px solid var(--line); border-radius: 8px; padding: .2rem .9rem .7rem;
  max-width: 100%; box-sizing: border-box; break-inside: avoid;}
.group p {font-size: .9rem; max-width: 30rem;}
.sides {display: flex; flex-wrap: wrap; gap: .6rem 1.6rem;}
.sides > div {flex: 1 1 0; min-width: 150px;}
.pictures {display: flex; flex-wrap: wrap; gap: .6rem; align-items: flex-start;}
.pictures figure {margin: 0; width: 144px; font-size: .75rem; line-height: 1.3;}
.pictures img {display: block; max-width: 144px; max-height: 176px; background: #000;
  border-bottom: 4px solid var(--class); margin-bottom: .2rem;}
.class {font-weight: 600; font-size: .9rem; margin: .5rem 0 .3rem;}
.class::before {content: ""; display: inline-block; width: .7rem; height: .7rem;
  border-radius: 2px; background: var(--class); margin-right: .4rem;}
"""


def to_html(
    report: AuditReport,
    data: DataSet,
    bounds: Bounds = BOUNDS,
    progress: Callable[[int, int], None] | None = None,
) -> str:
    """Return an audit as HTML that needs nothing but a browser.

    Conflicted radiographs are shown first, then those with the most copies, up to
    ``bounds``; what is not shown is counted, and is in the table of groups.

    Args:
        report: what was found.
        data: the data set, for its pictures.
        bounds: how much is shown.
        progress: called with groups pictured and groups in all.
    """
    pictures = _Pictures(report, data, bounds)
    groups = browsing.all_groups(report)
    conflicts = [g for g in groups if g.conflicted][: bounds.conflicts]
    others = [g for g in groups if not g.conflicted][: bounds.groups]
    drawn = {}
    for done, group in enumerate([*conflicts, *others], start=1):
        drawn[group.radiograph] = pictures.group(group)
        if progress:
            progress(done, len(conflicts) + len(others))
    sections = [
        ("radiographs", "Radiographs, not files", _radiographs(report)),
        ("copies", "Copies", _copies(report, [drawn[g.radiograph] for g in others], groups)),
        ("conflicts", "Conflicts", _conflicts(report, [drawn[g.radiograph] for g in conflicts])),
        ("shortcuts", "Shortcuts and leakage", _shortcuts(report)),
        ("files", "The files", _files(report, bounds)),
        ("patients", "The patients", _patients(report)),
    ]
    body = [_head(report, data, [s for s in sections if s[2]])]
    body += [_section(*section) for section in sections if section[2]]
    body.append(_foot(report))
    return html_file.document(f"Data audit: {report.name}", _STYLE, body)


class _Pictures:
    """Pictures for one file of HTML, as many as fit.

    Attributes:
        left: bytes that may still be used.
    """

    def __init__(self, report: AuditReport, data: DataSet, bounds: Bounds) -> None:
        self.folder = data.folder
        self.others = [n for n in report.counts_by_file() if n not in CLASS_NAMES]
        self.bounds = bounds
        self.left = bounds.bytes

    def group(self, group: Group) -> str:
        """Return a group with its pictures, the classes side by side."""
        shown = group.shown(self.bounds.pictures)
        sides = "".join(
            self._class(name, [f for f in shown if f.true == name]) for name in group.classes
        )
        more = len(group.files) - len(shown)
        parts = [
            f'<article class="group" id="{escape(group.radiograph)}">'
            f"<h3>{escape(group.radiograph)}</h3>",
            _text(words.group(group)),
            _text(words.patients(group)),
            f'<div class="sides">{sides}</div>',
            _quiet(f"And {more:,} more in groups.csv.") if more else "",
            "</article>",
        ]
        return "".join(parts)

    def _class(self, name: str, files: Sequence[FileFacts]) -> str:
        from kop_core.figures.audit import class_colour, class_label

        figures = "".join(self._figure(f) for f in files)
        colour = class_colour(name, self.others)
        return (
            f'<div style="--class: {colour}; flex-grow: {max(len(files), 1)}">'
            f'<div class="class">{escape(class_label(name))}</div>'
            f'<div class="pictures">{figures}</div></div>'
        )

    def _figure(self, file: FileFacts) -> str:
        caption = f"<figcaption>{escape(file.file)}<br>{escape(words.facts(file))}</figcaption>"
        picture = browsing.thumbnail(self.folder / file.file, self.bounds.side)
        if picture is None:
            return f"<figure><p>The file can no longer be read.</p>{caption}</figure>"
        if len(picture) > self.left:
            return f"<figure><p>No room for the picture.</p>{caption}</figure>"
        self.left -= len(picture)
        return (
            f'<figure><img src="{browsing.data_uri(picture)}" alt="Radiograph {escape(file.file)}">'
            f"{caption}</figure>"
        )


def _head(
    report: AuditReport, data: DataSet, sections: Iterable[tuple[str, str, list[str]]]
) -> str:
    links = "".join(f'<li><a href="#{key}">{escape(title)}</a></li>' for key, title, _ in sections)
    notes = "".join(f'<p class="note">{escape(note)}</p>' for note in data.notes)
    return (
        f"<h1>Data audit: {escape(report.name)}</h1>"
        f'<p class="answer">{escape(words.headline(report))}</p>{notes}'
        f'<nav aria-label="Sections"><ul>{links}</ul></nav>'
    )


def _radiographs(report: AuditReport) -> list[str]:
    from kop_core.figures import audit as figures

    return [
        _figures(
            (
                "Files and radiographs of each class",
                figures.counts(report.counts_by_file(), report.counts_by_radiograph()),
            ),
            ("How many files show one radiograph", figures.group_sizes(browsing.sizes(report))),
        )
    ]


def _copies(report: AuditReport, shown: list[str], groups: Sequence[Group]) -> list[str]:
    said = [_groups(shown), _text(words.copies(report))]
    more = sum(not g.conflicted for g in groups) - len(shown)
    if shown:
        said.append(_quiet(words.STRENGTH_HELP))
        said.insert(0, _quiet(_most_copies(len(shown))))
    if more > 0:
        said.append(_quiet(f"And {more:,} more in groups.csv."))
    return said


def _most_copies(shown: int) -> str:
    return (
        "The radiograph with copies and no conflict."
        if shown == 1
        else f"The {shown:,} radiographs with the most copies and no conflict."
    )


def _conflicts(report: AuditReport, shown: list[str]) -> list[str]:
    more = len(report.conflicted()) - len(shown)
    said = [_groups(shown), _text(words.conflicts(report))]
    if more > 0:
        said.append(_quiet(f"And {more:,} more in groups.csv."))
    return said


def _shortcuts(report: AuditReport) -> list[str]:
    from kop_core.figures import audit as figures

    drawn = []
    if report.shortcuts:
        drawn.append(("What needs no bone to be right", figures.shortcuts(report.shortcuts)))
    if any(k.test_files for k in report.leakage):
        drawn.append(("Test files with a copy in training", figures.leakage(report.leakage)))
    said = [_text(words.shortcut(s)) for s in report.shortcuts]
    return [_figures(*drawn) if drawn else "", *said, _text(words.leakage(report))]


def _files(report: AuditReport, bounds: Bounds) -> list[str]:
    from kop_core.figures import audit as figures

    parts = []
    if report.files:
        parts.append(
            _figures(
                ("Size of the pictures", figures.picture_sizes(report.files)),
                ("Contrast", figures.spread_by_class(report.files, "contrast", "Contrast")),
                ("Brightness", figures.spread_by_class(report.files, "brightness", "Brightness")),
            )
        )
        parts.append(_quiet(words.CONTRAST_HELP))
    for sentence, pairs in (
        (words.unreadable(report), report.unreadable),
        (words.passed_over(report), report.passed_over),
    ):
        if sentence:
            rows, more = words.listed(pairs, bounds.listed)
            listed = "".join(f"<li>{escape(row)}</li>" for row in rows)
            listed += f"<li>And {more:,} more.</li>" if more else ""
            parts.append(f"<h3>{escape(sentence)}</h3><ul>{listed}</ul>")
    return parts


def _patients(report: AuditReport) -> list[str]:
    from kop_core.figures import audit as figures

    if not report.patients:
        return []
    counted = report.patients["counted"]
    drawn = []
    for title, variable in report.patients["variables"].items():
        figure = figures.patient_variable(title, variable, counted)
        if figure is not None:
            drawn.append((wording.variable(title), figure))
    return [_text(words.patient_variables(report)), _figures(*drawn)]


def _foot(report: AuditReport) -> str:
    return (
        f'<p class="foot">Made by KOP {escape(kop_core.__version__)} from '
        f"{len(report.files) + len(report.unreadable):,} files, fingerprint "
        f"{escape(report.fingerprint[:16])}. {escape(wording.NOT_A_DEVICE)}</p>"
    )


def _section(key: str, heading: str, parts: Iterable[str]) -> str:
    return f'<section id="{key}"><h2>{escape(heading)}</h2>\n' + "\n".join(parts) + "</section>"


def _groups(shown: Sequence[str]) -> str:
    return f'<div class="groups">{"".join(shown)}</div>' if shown else ""


def _text(sentence: str) -> str:
    return f"<p>{escape(wording.unbroken(sentence))}</p>" if sentence else ""


def _quiet(sentence: str) -> str:
    return f'<p class="quiet">{escape(sentence)}</p>'


def _figures(*shown: tuple[str, go.Figure]) -> str:
    return html_file.figures(shown, "kop_audit")
