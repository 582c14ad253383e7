"""``export``: a run or a model in a form that other programs read."""

from __future__ import annotations

import argparse
import sys
from pathlib import Path
from typing import TYPE_CHECKING, Any

from kop_core import model_store
from kop_core.commands.console import start_tensorflow
from kop_core.commands.runs import add_root
from kop_core.errors import KopError, RunError, UnknownModel
from kop_core.training.run_folder import replacing

if TYPE_CHECKING:
    from kop_core.training.runs import Run


def add(commands: Any) -> None:
    command = commands.add_parser("export", help="write a finished run for other programs")
    command.add_argument("id", metavar="ID", help="of a run or a model, or a folder")
    command.add_argument("--onnx", type=Path, metavar="FILE", help="the network as ONNX, checked")
    command.add_argument("--zip", type=Path, metavar="FILE", help="the model's folder")
    command.add_argument(
        "--tensorboard", type=Path, metavar="FOLDER", help="the epochs as TensorBoard logs"
    )
    command.add_argument(
        "--data",
        type=Path,
        metavar="FOLDER",
        help="radiographs to check the ONNX file on (default: those the run was trained with)",
    )
    command.add_argument("--force", action="store_true", help="replace files that exist")
    command.add_argument("--models", type=Path, help="folder of the models")
    add_root(command)
    command.set_defaults(run=_run)


def _run(options: argparse.Namespace) -> int:
    if not (options.onnx or options.zip or options.tensorboard):
        raise RunError("Say what to write: --onnx FILE, --zip FILE or --tensorboard FOLDER.")
    folder, run = _find(options)
    for file in (options.onnx, options.zip):
        _check_free(file, options.force)
    if options.zip:
        _write_zip(folder, options.zip)
    if options.tensorboard:
        _write_tensorboard(folder, options.tensorboard)
    if options.onnx:
        _write_onnx(folder, options.onnx, options.data or _data_of(run))
    return 0


def _find(options: argparse.Namespace) -> tuple[Path, Run | None]:
    """Return the folder that is meant, and the run that it is, if it is one."""
    from kop_core.training import runs

    try:
        run = runs.find(options.id, options.runs)
        return run.folder, run
    except RunError as error:  # perhaps a model, by its folder or its id
        if (Path(options.id) / model_store.CARD).is_file():
            return Path(options.id), None
        try:
            return model_store.get(options.id, options.models).folder, None
        except UnknownModel:
            raise error from None


def _data_of(run: Run | None) -> Path | None:
    """Return the radiographs that a run was trained with, if they are still there."""
    return run.data_folder if run and run.data_folder and run.data_folder.exists() else None


def _check_free(file: Path | None, force: bool) -> None:
    if file is None:
        return
    if file.is_dir():
        raise KopError(f"{file} is a folder. Name a file.")
    if file.exists() and not force:
        raise KopError(f"{file} exists already. Name another file, or replace it with --force.")


def _model(folder: Path) -> model_store.Model:
    if not (folder / model_store.CARD).is_file():
        raise RunError(f"The run {folder.name} has not finished: it has no {model_store.CARD} yet.")
    model = model_store.open_model(folder)
    model_store.verify(model)
    return model


def _write_zip(folder: Path, file: Path) -> None:
    from kop_core.exchange.bundles import write_bundle

    _model(folder)
    try:
        with replacing(file) as stream:
            write_bundle(folder, stream)
    except OSError as error:
        raise KopError(f"The file {file} cannot be written: {error.strerror}.") from error
    print(f"Written: {file}")


def _write_tensorboard(run: Path, folder: Path) -> None:
    from kop_core.exchange.tensorboard import write_tensorboard

    write_tensorboard(run, folder)
    print(f"Written: {folder}. Look at it with: tensorboard --logdir {folder}")


def _write_onnx(folder: Path, file: Path, data: Path | None) -> None:
    from kop_core.exchange.onnx import export_onnx

    model = _model(folder)
    start_tensorflow()
    found = export_onnx(model, file, data)
    print(
        f"Written: {file}. On {found.images:,} images its probabilities differ from those of "
        f"Keras by {found.largest_difference:.1e} at most."
    )
    if not found.real:
        print("No radiographs were there to check it on; name some with --data.", file=sys.stderr)
