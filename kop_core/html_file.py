"""One file of HTML that a person can send to a colleague: its frame, its look, its figures.

Everything is inside, plotly.js once. A content security policy keeps the file from asking
the network for anything.
"""

from __future__ import annotations

from collections.abc import Iterable
from html import escape
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    import plotly.graph_objects as go

_POLICY = (
    "default-src 'none'; script-src 'unsafe-inline'; style-src 'unsafe-inline'; img-src data: blob:"
)
_STYLE = """
:root {color-scheme: light dark; --ink: #1a282e; --paper: #fbfcfc; --soft: #edf2f4;
  --line: #d3dde1; --warn: #fbf3dd; --warn-ink: #6b4e00; --link: #17607a;}
@media (prefers-color-scheme: dark) {:root {--ink: #e4ebed; --paper: #10171a; --soft: #1a2429;
  --line: #2e3b41; --warn: #332b17; --warn-ink: #ebd08a; --link: #8ccbe0;}}
body {margin: 0 auto; max-width: 1080px; padding: 1.5rem; background: var(--paper);
  color: var(--ink); font: 16px/1.5 system-ui, sans-serif; overflow-wrap: anywhere;}
p, ul {max-width: 46rem; margin: .4rem 0;}
.foot, .quiet {opacity: .85; font-size: .9rem;} .foot {margin-top: 2.5rem;}
.figures {display: grid;}
.figures figure {margin: .5rem 0; min-width: 0;} .figures figcaption {font-weight: 600;}
.js-plotly-plot .main-svg text {fill: var(--ink) !important;}
.js-plotly-plot .hoverlayer .hovertext path {fill: var(--soft) !important;
  stroke: var(--line) !important;}
"""


def document(title: str, style: str, body: Iterable[str]) -> str:
    """Return a whole file.

    Args:
        title: of the window, as plain text.
        style: CSS beside what all files share; the variables ``--ink``, ``--paper``,
            ``--soft``, ``--line``, ``--warn``, ``--warn-ink`` and ``--link`` are there, in
            light and in dark.
        body: pieces of HTML, each on a line of its own.
    """
    import plotly.offline

    return (
        '<!doctype html>\n<html lang="en"><head><meta charset="utf-8">\n'
        f'<meta http-equiv="Content-Security-Policy" content="{_POLICY}">\n'
        '<meta name="viewport" content="width=device-width, initial-scale=1">\n'
        f"<title>{escape(title)}</title>\n<style>{_STYLE}{style}</style>\n"
        f"<script>{plotly.offline.get_plotlyjs()}</script></head>\n<body>\n"
        + "\n".join(body)
        + "\n</body></html>\n"
    )


def figures(shown: Iterable[tuple[str, go.Figure]], name: str, look: str = "figures") -> str:
    """Return figures under their titles.

    Args:
        shown: each with its title, as plain text.
        name: of a figure's file where a reader downloads it, without its ending.
        look: CSS classes of what holds them.
    """
    from kop_core.figures import chart_config

    config = {**chart_config(name), "responsive": True}
    drawn = []
    for title, figure in shown:
        html = figure.to_html(full_html=False, include_plotlyjs=False, config=config)
        drawn.append(f"<figure><figcaption>{escape(title)}</figcaption>{html}</figure>")
    return f'<div class="{look}">{"".join(drawn)}</div>'
