"""``evaluate``: measure a table of predictions, every figure with its interval."""

from __future__ import annotations

import argparse
import sys
from pathlib import Path
from typing import TYPE_CHECKING, Any

from kop_core import model_store, wording
from kop_core.commands.console import draws, print_json, print_table, write_file
from kop_core.errors import KopError, ModelError

if TYPE_CHECKING:
    from kop_core.evaluation import Report
    from kop_core.model_store import Model


def add(commands: Any) -> None:
    command = commands.add_parser(
        "evaluate",
        help="measure a table of predictions",
        description="Measure a table of predictions: accuracy, sensitivity and the rest with 95 % "
        "intervals by a bootstrap over radiographs, calibration, operating points and conformal "
        "sets. A half of the radiographs is for choosing thresholds, the other for measuring them.",
    )
    command.add_argument(
        "predictions",
        type=Path,
        help="CSV with the columns file, radiograph, true and a probability for each class",
    )
    command.add_argument("--json", action="store_true", help="as JSON")
    command.add_argument("--html", type=Path, help="write a page with figures to this file")
    command.add_argument(
        "--sensitivity",
        type=_share,
        action="append",
        help="target sensitivity of an operating point, between 0 and 1; may be given several "
        "times (default 0.8, 0.9 and 0.95)",
    )
    command.add_argument(
        "--coverage",
        type=_share,
        default=0.9,
        help="target coverage of conformal sets, between 0 and 1 (default 0.9)",
    )
    command.add_argument("--draws", type=draws, default=2000, help="of the bootstrap (2000)")
    command.add_argument("--seed", type=int, default=0, help="of the bootstrap and the cut (0)")
    command.set_defaults(run=_run)


def _share(text: str) -> float:
    try:
        value = float(text)
    except ValueError:
        value = -1.0
    if not 0 < value < 1:
        raise argparse.ArgumentTypeError(f"{text} is not between 0 and 1")
    return value


def _run(options: argparse.Namespace) -> int:
    from kop_core.evaluation import Predictions, report
    from kop_core.evaluation.operating import SENSITIVITIES

    if options.seed < 0:
        raise KopError("A seed is 0 or more.")
    predictions = Predictions.read(options.predictions)
    wished = tuple(options.sensitivity or SENSITIVITIES)
    found = report(predictions, wished, options.coverage, options.draws, options.seed)
    model = _model(options.predictions)
    if options.html:
        _write_html(options.html, found, model, options.predictions)
    if options.json:
        print_json(found.get_config())
    else:
        _print(found, model)
    if options.html:
        print(f"Written: {options.html}", file=sys.stderr)
    return 0


def _model(predictions: Path) -> Model | None:
    """Return the model whose predictions these are: its card says how the test part was split."""
    if predictions.name != model_store.PREDICTIONS:
        return None
    try:
        model = model_store.open_model(predictions.resolve().parent)
    except ModelError:
        return None
    same = model_store.checksum(predictions) == model.card["checksums"][model_store.PREDICTIONS]
    return model if same else None


def _write_html(path: Path, found: Report, model: Model | None, predictions: Path) -> None:
    from kop_core.evaluation import html

    text = html.page_of(model, found) if model else html.page(found, predictions.name)
    write_file(path, text)


def _print(found: Report, model: Model | None) -> None:
    from kop_core.evaluation import words

    measured = found.evaluation
    split = model.card["split"] if model else None
    if model:
        print(f"{model.title} ({model.id}): {wording.split_badge(split)[0]}")
    for sentence in words.answer(measured, split):
        print(sentence)
    overall = [
        {k: r[k] for k in ("Figure", "Value (95 % CI)")} for r in words.overall_table(measured)
    ]
    print_table("All classes", overall)
    print_table("By class (95 % CI)", words.class_table(measured))
    print_table("Labelled (rows), called (columns)", words.confusion_table(measured))
    print(words.mistakes(measured))
    if found.calibration.temperature:
        print_table("Calibration", words.calibration_table(found.calibration.temperature))
    else:
        print()
    for sentence in words.calibration(found.calibration, measured):
        print(sentence)
    print_table("Operating points", words.operating_table(found.operating_points))
    for reason in dict.fromkeys(p.reason for p in found.operating_points if p.reason):
        print(reason)
    print_table("Conformal sets", words.conformal_table(found.conformal))
    for sentence in words.conformal(found.conformal):
        print(sentence)
    print(f"\nIntervals: {measured.get_config()['interval']}.")
