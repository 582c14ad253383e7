"""``classify``: radiographs, with overlays."""

from __future__ import annotations

import argparse
from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING, Any

from kop_core import cases, model_store, overlay, radiographs, wording
from kop_core.classes import CLASS_NAMES
from kop_core.commands.console import make_folder, print_json, start_tensorflow, write_file
from kop_core.errors import KopError, RadiographError
from kop_core.explanation import METHODS

if TYPE_CHECKING:
    from kop_core.classifier import Classifier
    from kop_core.prediction import Prediction


def add(commands: Any) -> None:
    command = commands.add_parser("classify", help="classify radiographs")
    command.add_argument("files", nargs="+", metavar="FILE", help="radiographs")
    command.add_argument(
        "--model",
        metavar="ID",
        help="the model (default: the one that `models --make-default` names)",
    )
    command.add_argument("--models", type=Path, help="folder of the models")
    command.add_argument("--json", action="store_true", help="as JSON")
    command.add_argument(
        "--overlay", type=Path, metavar="FOLDER", help="write overlays as PNG there"
    )
    command.add_argument("--method", choices=METHODS, default="gradcam", help="of the overlays")
    command.add_argument("--class", choices=CLASS_NAMES, dest="class_name", help="to explain")
    command.set_defaults(run=_run)


def _run(options: argparse.Namespace) -> int:
    model = model_store.get(options.model, options.models)
    model_store.verify(model)  # now, not after the first file that can be read
    if options.overlay:
        make_folder(options.overlay)
    records = []
    for record in _records(model, options):
        records.append(record)
        if not options.json:
            print(as_line(record), flush=True)
    if options.json:
        print_json(records)
    return 2 if any("error" in r for r in records) else 0


def as_line(record: dict[str, Any]) -> str:
    """Return one record of ``classify`` as a line for people."""
    parts = [record.get("verdict") or record["error"], *record.get("cautions", ())]
    if "evidence" in record and not record["evidence"]:
        parts.append(
            f"No overlay: nothing in the picture speaks for {record['explained_class']} by this "
            "method."
        )
    return f"{record['file']}: {' '.join(parts)}"


def _records(model: model_store.Model, options: argparse.Namespace) -> Iterator[dict[str, Any]]:
    classifier: Classifier | None = None
    taken: set[str] = set()
    for file in options.files:
        try:
            radiograph = radiographs.read(file)
            if classifier is None:  # TensorFlow takes seconds: only when there is work for it
                start_tensorflow()
                from kop_core.classifier import Classifier

                classifier = Classifier(model)
            prediction = classifier.classify(
                radiograph, options.method if options.overlay else None, options.class_name
            )
            record = _record(file, prediction)
            if options.overlay:
                record |= _write_overlay(radiograph, prediction, options.overlay, taken)
            yield record
        except RadiographError as error:
            yield {"file": file, "error": error.reason, "code": error.code}
        except KopError as error:
            yield {"file": file, "error": str(error), "code": error.code}


def _record(file: str, prediction: Prediction) -> dict[str, Any]:
    return {
        "file": file,
        "class": prediction.class_name,
        "probabilities": prediction.probabilities,
        "model": prediction.model,
        "version": prediction.version,
        "calibrated": prediction.calibrated,
        "verdict": wording.verdict(prediction),
        "cautions": list(prediction.cautions),
    }


def _write_overlay(radiograph, prediction, folder: Path, taken: set[str]) -> dict[str, Any]:
    influence = prediction.influence
    explained = {"explained_class": influence.class_name, "evidence": influence.evidence}
    if not influence.evidence:
        return {"overlay": None, **explained}
    name = cases.overlay_name(prediction.file, influence.class_name, influence.method, taken)
    picture = overlay.blend(overlay.render(radiograph, max_side=2048), influence)
    write_file(folder / name, overlay.to_png(picture))
    return {"overlay": str(folder / name), **explained}
