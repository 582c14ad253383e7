"""What several commands share: JSON, progress, a quiet start of TensorFlow."""

from __future__ import annotations

import json
import os
import sys
import tempfile
import time
from pathlib import Path
from typing import TYPE_CHECKING, Any

from kop_core import wording
from kop_core.errors import KopError

if TYPE_CHECKING:
    from kop_core.training import Progress


def print_json(value: Any) -> None:
    print(json.dumps(value, indent=2, ensure_ascii=False))


def make_folder(folder: Path) -> None:
    try:
        folder.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise KopError(f"The folder {folder} cannot be made: {error.strerror}.") from error


class ProgressLine:
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
