"""``compare``: models side by side, tested against each other where that can be done."""

from __future__ import annotations

import argparse
import sys
from pathlib import Path
from typing import TYPE_CHECKING, Any

from kop_core.commands.console import draws, print_json, print_table, start_tensorflow, write_file
from kop_core.errors import KopError

if TYPE_CHECKING:
    from kop_core.evaluation.compared import Compared, Entry
    from kop_core.model_store import Model


def add(commands: Any) -> None:
    command = commands.add_parser(
        "compare",
        help="compare trained models",
        description="Compare trained models: figures with 95 % intervals, and for models that "
        "were tested on the same images paired differences with intervals and p-values, McNemar's "
        "exact test, and Holm's correction for the number of pairs. The literature's figures stand "
        "apart. Exit status: 0 all were compared, 2 some could not be, 1 none.",
    )
    command.add_argument(
        "models", nargs="+", metavar="MODEL", help="id of a model or of a finished run, or a folder"
    )
    command.add_argument("--json", action="store_true", help="as JSON")
    command.add_argument("--csv", type=Path, metavar="FILE", help="write everything as a table")
    command.add_argument("--html", type=Path, metavar="FILE", help="write a page with figures")
    command.add_argument(
        "--metric",
        action="append",
        metavar="M",
        help="a figure to compare, such as macro_f1 or recall_osteoporosis; may be given several "
        "times (default: accuracy, balanced_accuracy, macro_f1 and macro_roc_auc)",
    )
    command.add_argument(
        "--ensemble", action="store_true", help="add the mean of their probabilities as one more"
    )
    command.add_argument(
        "--speed", action="store_true", help="measure milliseconds an image on this machine"
    )
    command.add_argument("--draws", type=draws, default=2000, help="of each test (2000)")
    command.add_argument("--seed", type=int, default=0, help="of the draws (0)")
    command.add_argument(
        "--models", type=Path, metavar="FOLDER", dest="models_folder", help="folder of the models"
    )
    command.add_argument("--runs", type=Path, metavar="FOLDER", help="folder of the runs")
    command.set_defaults(run=_run)


def _run(options: argparse.Namespace) -> int:
    from kop_core.evaluation import compared
    from kop_core.evaluation.compared_words import not_compared

    if len(set(options.models)) < 2:
        raise KopError("One model cannot be compared. Name two or more.")
    if options.seed < 0:
        raise KopError("A seed is 0 or more.")
    figures = tuple(dict.fromkeys(options.metric or compared.FIGURES))
    compared.check(figures)
    models, failed = _models(options)
    drawn = {"draws": options.draws, "seed": options.seed}
    entries, unread = compared.read(models, lambda p: compared.measure(p, **drawn))
    failed += unread
    for name, reason in failed:
        print(f"kop_core: {not_compared(name, reason)}", file=sys.stderr)
    if not entries:
        raise KopError("None of these models can be compared.")
    if options.speed:
        entries = _timed(entries)
    found = compared.compare(
        entries,
        figures,
        options.ensemble,
        failed,
        lambda p: compared.measure(p, **drawn),
        lambda tables, names: compared.comparison.differences(tables, names, **drawn),
    )
    _write(found, options)
    if options.json:
        print_json(found.get_config())
    else:
        _print(found)
    return 2 if failed else 0


def _models(options: argparse.Namespace) -> tuple[list[Model], list[tuple[str, str]]]:
    from kop_core.evaluation.compared import find

    models, failed = [], []
    for name in options.models:
        try:
            models.append(find(name, options.models_folder, options.runs))
        except KopError as error:
            failed.append((name, str(error)))
    return models, failed


def _timed(entries: list[Entry]) -> list[Entry]:
    from dataclasses import replace

    from kop_core import timing

    start_tensorflow()
    from kop_core.classifier import Classifier

    timed = []
    for entry in entries:
        try:
            timed.append(replace(entry, speed=timing.measure(Classifier(entry.model))))
        except KopError as error:
            print(f"kop_core: The speed was not measured. {error}", file=sys.stderr)
            timed.append(entry)
    return timed


def _write(found: Compared, options: argparse.Namespace) -> None:
    if options.csv:
        from kop_core.evaluation.compared_csv import to_csv

        write_file(options.csv, to_csv(found).encode("utf-8-sig"))
        print(f"Written: {options.csv}", file=sys.stderr)
    if options.html:
        from kop_core.evaluation.compared_html import page

        write_file(options.html, page(found))
        print(f"Written: {options.html}", file=sys.stderr)


def _print(found: Compared) -> None:
    from kop_core.evaluation import compared_words as words

    for sentence in (*words.answer(found), *words.ensemble_note(found)):
        print(sentence)
    print_table("Models (95 % CI)", words.figures_table(found))
    for sentence in words.warnings(found):
        print(sentence)
    if found.tested:
        for figure in found.figures:
            print_table(words.title(figure), words.pairs_table(found, figure))
        print_table("McNemar's test", words.mcnemar_table(found))
        print(words.how_tested(found))
    if untested := words.untested_table(found):
        print_table("Not tested against each other", untested)
    print_table("Speed and size", words.size_table(found.entries))
    if note := words.speed_note(found.entries):
        print(note)
    print_table("The literature, on other data", words.published_table())
    print(words.PUBLISHED_NOTE)
