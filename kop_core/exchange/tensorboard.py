"""The epochs of a run as TensorBoard reads them.

Written with TensorBoard's own records; TensorFlow is not imported.
"""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

from kop_core.errors import ExportError, RunError
from kop_core.training.run_folder import RunFolder, replacing

TRAINING, VALIDATION = "training", "validation"
_PREFIX, _SUFFIX = "events.out.tfevents.", ".kop"
# Columns of history.csv that are no figure of a part of the data.
_NOT_FIGURES = ("epoch", "seconds")
# No run has so many epochs, and no epoch takes so many seconds.
_MANY = 2**31

# Runs within a folder, by name: (epoch, seconds since 1970, figures by tag).
Scalars = dict[str, list[tuple[int, float, dict[str, float]]]]


def write_tensorboard(run_folder: str | Path, folder: str | Path) -> tuple[Path, ...]:
    """Write a run's ``history.csv`` as TensorBoard's logs.

    TensorBoard shows two runs, ``training`` (accuracy, loss, learning rate) and
    ``validation`` (accuracy, loss and what else was measured), a point an epoch. The
    history says how long each epoch took and not when it ended; the last is taken to have
    ended when the history was written.

    Args:
        run_folder: of a run, or of a model.
        folder: where to write; logs of an earlier export there are replaced.

    Returns:
        The files.

    Raises:
        ExportError: if there is no epoch yet, the history is damaged, or the folder cannot
            be written.
    """
    scalars = _scalars(RunFolder(Path(run_folder)))
    files = []
    try:
        for name, points in scalars.items():
            place = Path(folder) / name
            place.mkdir(parents=True, exist_ok=True)
            file = place / f"{_PREFIX}{int(points[0][1])}{_SUFFIX}"
            _write(file, points)
            for old in set(place.glob(f"{_PREFIX}*{_SUFFIX}")) - {file}:
                old.unlink()
            files.append(file)
    except OSError as error:
        raise ExportError(f"{folder} cannot be written ({error.strerror}).") from error
    return tuple(files)


def _scalars(run: RunFolder) -> Scalars:
    """Return what is shown, by run within the folder."""
    rows = _history(run)
    ended = run.history.stat().st_mtime
    left = [sum(row.get("seconds", 0.0) for row in rows[place:]) for place in range(1, len(rows))]
    scalars: Scalars = {TRAINING: [], VALIDATION: []}
    for row, after in zip(rows, [*left, 0.0]):
        figures: dict[str, dict[str, float]] = {TRAINING: {}, VALIDATION: {}}
        for column, value in row.items():
            if column.startswith("val_"):
                figures[VALIDATION][column.removeprefix("val_")] = value
            elif column not in _NOT_FIGURES:
                figures[TRAINING][column] = value
        for name, found in figures.items():
            scalars[name].append((row["epoch"], ended - after, found))
    return scalars


def _history(run: RunFolder) -> list[dict[str, float]]:
    try:
        rows = run.read_history()
        if not all(_has_its_time(row) for row in rows):
            raise ValueError
    except RunError as error:
        raise ExportError(f"There are no epochs to show. {error}") from error
    except Exception as error:  # a table of somebody's own fails in many ways
        raise ExportError(f"{run.history} is damaged, or no history of a run.") from error
    if not rows:
        raise ExportError(
            f"The run {run.path.name} has no whole epoch yet; there is nothing to show."
        )
    return rows


def _has_its_time(row: dict[str, float]) -> bool:
    return 0 <= row["epoch"] < _MANY and 0 <= row.get("seconds", 0.0) < _MANY


def _write(file: Path, points: list[tuple[int, float, dict[str, float]]]) -> None:
    try:
        from tensorboard.summary.writer.record_writer import RecordWriter
    except ImportError as error:
        raise ExportError(
            "TensorBoard's logs need the package tensorboard, which is not there or does not "
            "start. Install what KOP needs: pip install -r requirements.txt"
        ) from error
    with replacing(file) as stream:
        writer = RecordWriter(stream)
        for record in _records(points):
            writer.write(record)


def _records(points: list[tuple[int, float, dict[str, float]]]) -> Iterator[bytes]:
    from tensorboard.compat.proto.event_pb2 import Event

    yield Event(wall_time=points[0][1], file_version="brain.Event:2").SerializeToString()
    for epoch, when, figures in points:
        event = Event(wall_time=when, step=epoch)
        for tag, value in figures.items():
            event.summary.value.add(tag=tag, simple_value=value)
        yield event.SerializeToString()
