"""``audit``: what a data set really holds, before anyone trains on it."""

from __future__ import annotations

import argparse
import sys
from functools import partial
from pathlib import Path
from typing import Any

from kop_core.commands.console import StageLine, print_json, write_file


def add(commands: Any) -> None:
    command = commands.add_parser(
        "audit", help="find copies, contradictory labels and shortcuts in a data set"
    )
    command.add_argument(
        "data", type=Path, metavar="FOLDER", help="class folders, or a CSV table of files"
    )
    command.add_argument("--json", action="store_true", help="the whole report as JSON")
    command.add_argument("--groups", type=Path, metavar="CSV", help="write file,radiograph there")
    command.add_argument("--html", type=Path, metavar="FILE", help="write a page with pictures")
    command.add_argument(
        "--no-cache", action="store_true", help="look at everything anew, and keep nothing"
    )
    command.set_defaults(run=_run)


def _run(options: argparse.Namespace) -> int:
    from kop_core.datasets import scan
    from kop_core.datasets.audit import audit, browsing

    line = StageLine()
    listing = partial(line, "listing files")
    data = scan(options.data, listing, any_class=True, follow_links=True)
    report = audit(data, line, cache=not options.no_cache)
    line.close()
    if options.groups:
        write_file(options.groups, browsing.groups_csv(report))
    if options.html:
        from kop_core.datasets.audit.html import to_html

        write_file(options.html, to_html(report, data))
    if options.json:
        print_json(report.get_config())
    else:
        _say(report, data)
    return 2 if report.unreadable else 0


def _say(report: Any, data: Any) -> None:
    from kop_core.datasets.audit import words

    for sentence in (
        words.headline(report),
        words.copies(report),
        words.conflicts(report),
        *(words.shortcut(s) for s in report.shortcuts),
        words.leakage(report),
        words.patient_variables(report),
        *data.notes,
        words.unreadable(report),
        words.passed_over(report),
    ):
        if sentence:
            print(sentence)
    for file, reason in (*report.unreadable, *report.passed_over):
        print(f"{file}: {reason}", file=sys.stderr)
