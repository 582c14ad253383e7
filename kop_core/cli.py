"""``python -m kop_core``: everything that the dashboard does, for scripts.

Results go to standard output, progress and complaints to standard error. Exit status:
0 done, 1 not done, 2 some files could not be read (or the command line is wrong).
"""

from __future__ import annotations

import argparse
import json
import os
import sys
import tempfile
import time
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

import kop_core
from kop_core import cases, model_store, networks, overlay, radiographs, wording
from kop_core.classes import CLASS_NAMES
from kop_core.errors import KopError, RadiographError, RunError
from kop_core.explanation import METHODS

if TYPE_CHECKING:
    from kop_core.classifier import Classifier
    from kop_core.prediction import Prediction
    from kop_core.training import Progress


def main(arguments: Sequence[str] | None = None) -> int:
    """Run one command and return its exit status."""
    options = _parser().parse_args(arguments)
    try:
        return options.run(options)
    except KopError as error:
        print(f"kop_core: {error}", file=sys.stderr)
        return 1
    except BrokenPipeError:  # whoever read the output has gone
        sys.stderr.close()
        return 1
    except OSError as error:
        where = f" ({error.filename})" if error.filename else ""
        print(f"kop_core: {error.strerror or error}{where}.", file=sys.stderr)
        return 1
    except KeyboardInterrupt:
        print("\nkop_core: interrupted.", file=sys.stderr)
        return 130


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(
        prog="python -m kop_core",
        description="Knee radiographs as healthy, osteopenia or osteoporosis. "
        + wording.NOT_A_DEVICE,
    )
    parser.add_argument("--version", action="version", version=kop_core.__version__)
    commands = parser.add_subparsers(required=True, metavar="COMMAND")
    _add_networks(commands)
    _add_models(commands)
    _add_classify(commands)
    _add_train(commands)
    _add_publish(commands)
    return parser


def _add_networks(commands: Any) -> None:
    command = commands.add_parser("networks", help="list the networks that can be trained")
    command.add_argument("--json", action="store_true", help="as JSON")
    command.set_defaults(run=_networks)


def _networks(options: argparse.Namespace) -> int:
    start_tensorflow()
    listed = []
    for name in networks.names():
        network = networks.get(name)
        listed.append(
            {
                "name": name,
                "title": network.title,
                **networks.counts(networks.build(name)),
                "input": list(network.input.shape),
                "explain_layer": network.explain_layer,
                "reference": network.reference,
            }
        )
    if options.json:
        _print_json(listed)
    else:
        for network in listed:
            print(f"{network['name']}: {network['title']}, {network['parameters']:,} parameters")
    return 0


def _add_models(commands: Any) -> None:
    command = commands.add_parser("models", help="list the trained models")
    command.add_argument("--json", action="store_true", help="as JSON")
    command.add_argument("--models", type=Path, help="folder of the models")
    command.set_defaults(run=_models)


def _models(options: argparse.Namespace) -> int:
    whole, broken = model_store.list_models(options.models)
    if options.json:
        _print_json(
            [m.summary() for m in whole] + [{"id": b.id, "error": b.reason} for b in broken]
        )
        return 1 if broken else 0
    for model in whole:
        figure = wording.accuracy(model.card["evaluation"])
        print(f"{model.id} ({model.version}): {model.title}")
        print(f"    accuracy {figure}; {wording.split_badge(model.card['split'])[0]}")
    for model in broken:
        print(f"{model.id}: {model.reason}", file=sys.stderr)
    return 1 if broken else 0


def _add_classify(commands: Any) -> None:
    command = commands.add_parser("classify", help="classify radiographs")
    command.add_argument("files", nargs="+", metavar="FILE", help="radiographs")
    command.add_argument("--model", metavar="ID", help="the model (default: the first)")
    command.add_argument("--models", type=Path, help="folder of the models")
    command.add_argument("--json", action="store_true", help="as JSON")
    command.add_argument(
        "--overlay", type=Path, metavar="FOLDER", help="write overlays as PNG there"
    )
    command.add_argument("--method", choices=METHODS, default="gradcam", help="of the overlays")
    command.add_argument("--class", choices=CLASS_NAMES, dest="class_name", help="to explain")
    command.set_defaults(run=_classify)


def _classify(options: argparse.Namespace) -> int:
    model = model_store.get(options.model, options.models)
    model_store.verify(model)  # now, not after the first file that can be read
    if options.overlay:
        _make_folder(options.overlay)
    records = []
    for record in _records(model, options):
        records.append(record)
        if not options.json:
            print(as_line(record), flush=True)
    if options.json:
        _print_json(records)
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
    try:
        (folder / name).write_bytes(overlay.to_png(picture))
    except OSError as error:
        raise KopError(f"{folder / name} could not be written: {error.strerror}.") from error
    return {"overlay": str(folder / name), **explained}


def _make_folder(folder: Path) -> None:
    try:
        folder.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise KopError(f"The folder {folder} cannot be made: {error.strerror}.") from error


def _add_train(commands: Any) -> None:
    command = commands.add_parser("train", help="train a network, or go on with a run")
    command.add_argument("--data", type=Path, metavar="FOLDER", help="folder of class folders")
    command.add_argument("--network", metavar="NAME", help="the network (default: paper)")
    command.add_argument("--epochs", type=int, metavar="N", help="default: 30")
    command.add_argument("--seed", type=int, metavar="S", help="default: 0")
    command.add_argument("--batch", type=int, metavar="N", dest="batch_size", help="default: 16")
    command.add_argument("--learning-rate", type=float, metavar="RATE", help="default: 0.001")
    command.add_argument("--optimizer", choices=("sgd", "adam"), help="default: sgd")
    command.add_argument("--precision", choices=("auto", "float32", "mixed_bfloat16"))
    command.add_argument("--out", type=Path, metavar="RUN", help="folder of the new run")
    command.add_argument("--resume", type=Path, metavar="RUN", help="go on with this run")
    command.set_defaults(run=_train)


_SETTINGS = (
    "network",
    "epochs",
    "seed",
    "batch_size",
    "learning_rate",
    "optimizer",
    "precision",
)


def _train(options: argparse.Namespace) -> int:
    from kop_core.training import TrainingConfig, resume, train

    start_tensorflow()
    chosen = {k: v for k in _SETTINGS if (v := getattr(options, k)) is not None}
    progress = _ProgressLine()
    if options.resume:
        _check_same(options, chosen)
        run = resume(options.resume, progress, options.data)
    elif options.data and options.out:
        run = train(TrainingConfig(**chosen), options.data, options.out, progress)
    else:
        raise RunError(
            "Name the data and a folder for the run (--data FOLDER --out RUN), or a run "
            "to go on with (--resume RUN)."
        )
    progress.close()
    card = json.loads((run / model_store.CARD).read_text(encoding="utf-8"))
    for statement in card["statements"]:
        print(statement)
    return 0


def _check_same(options: argparse.Namespace, chosen: dict[str, Any]) -> None:
    """Refuse to resume with other settings: the result would be neither run's."""
    from kop_core.training.run_folder import RunFolder

    if options.out and options.out.resolve() != options.resume.resolve():
        raise RunError("A run goes on in its own folder: leave --out away with --resume.")
    kept = RunFolder(options.resume).read_record()["config"]
    other = [k for k, v in chosen.items() if kept.get(k) != v]
    if other:
        named = ", ".join(f"{k} {kept.get(k)!r}" for k in other)
        raise RunError(f"The run was started with {named}. Resume it so, or start a new run.")


def _add_publish(commands: Any) -> None:
    command = commands.add_parser("publish", help="put a finished run among the models")
    command.add_argument("run_folder", type=Path, metavar="RUN")
    command.add_argument("--name", required=True, help="the model's id")
    command.add_argument("--title", help="its name in a sentence")
    command.add_argument("--source", help="where the training data came from")
    command.add_argument("--terms", help="what the data's terms say of the weights")
    command.add_argument(
        "--caution",
        action="append",
        default=[],
        metavar="TEXT",
        dest="cautions",
        help="a fault found in it, shown beside every verdict (may be repeated)",
    )
    command.add_argument("--models", type=Path, help="folder of the models")
    command.set_defaults(run=_publish)


def _publish(options: argparse.Namespace) -> int:
    model = model_store.publish(
        options.run_folder,
        options.name,
        options.models,
        title=options.title,
        source=options.source,
        terms=options.terms,
        cautions=options.cautions,
    )
    print(f"{model.id} is in {model.folder}.")
    return 0


class _ProgressLine:
    """One line on a terminal, rewritten; elsewhere a line an epoch and every half minute."""

    def __init__(self) -> None:
        self.live = sys.stderr.isatty()
        self.last = 0.0

    def __call__(self, progress: Progress) -> None:
        now = time.monotonic()
        ended = progress.stage == "epoch"
        if not ended and now - self.last < (0.2 if self.live else 30):
            return
        self.last = now
        text = progress_line(progress)
        if self.live:
            print(f"\r\x1b[K{text}", end="\n" if ended else "", file=sys.stderr, flush=True)
        else:
            print(text, file=sys.stderr, flush=True)

    def close(self) -> None:
        if self.live:
            print("\r\x1b[K", end="", file=sys.stderr, flush=True)


def progress_line(progress: Progress) -> str:
    """Return how far a run is, with the time left, in one line."""
    what = {
        "scanning": "scanning files",
        "reading": "reading radiographs",
        "measuring": "measuring on the test part",
    }
    if progress.stage in what:
        return f"{what[progress.stage]} {progress.done}/{progress.total}"
    parts = [f"epoch {progress.epoch}/{progress.epochs}"]
    if progress.stage == "training":
        parts.append(f"step {progress.done}/{progress.total}")
    elif progress.stage == "validating":
        parts.append(f"validating {progress.done}/{progress.total}")
    shown = ("loss", "accuracy", "val_loss", "val_accuracy")
    parts += [f"{k} {progress.figures[k]:.3f}" for k in shown if k in progress.figures]
    if progress.seconds_left is not None:
        parts.append(f"{wording.duration(progress.seconds_left)} left")
    return "  ".join(parts)


def start_tensorflow() -> None:
    """Import TensorFlow without the notes that its native code writes for its developers.

    They come before its log level counts, straight to the file descriptor. If the import
    fails they are shown.
    """
    if "tensorflow" in sys.modules or os.environ.get("KERAS_BACKEND") not in (None, "tensorflow"):
        return
    sys.stderr.flush()
    try:
        kept = os.dup(2)
    except OSError:  # no standard error at all
        import tensorflow

        return
    with tempfile.TemporaryFile() as notes:
        os.dup2(notes.fileno(), 2)
        try:
            import tensorflow  # noqa: F401
        except BaseException:
            notes.seek(0)
            os.write(kept, notes.read())
            raise
        finally:
            os.dup2(kept, 2)
            os.close(kept)


def _print_json(value: Any) -> None:
    print(json.dumps(value, indent=2, ensure_ascii=False))
