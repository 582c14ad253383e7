"""What several commands share: JSON, files, progress, a quiet start of TensorFlow."""

from __future__ import annotations

import argparse
import json
import math
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


def write_file(path: Path, content: str | bytes) -> None:
    """Write a result to a file that a person has named.

    Raises:
        KopError: if it cannot be written.
    """
    try:
        path.write_bytes(content.encode() if isinstance(content, str) else content)
    except OSError as error:
        raise KopError(f"The file {path} cannot be written: {error.strerror}.") from error


class StatusLine:
    """How far work is, on standard error.

    On a terminal one line, rewritten five times a second at most; elsewhere, as in a log,
    a line now and then.

    Args:
        every: seconds between two lines where there is no terminal.
    """

    def __init__(self, every: float = 10) -> None:
        self.live = sys.stderr.isatty()
        self._every = 0.2 if self.live else every
        self._last = time.monotonic()

    def show(self, text: str, lasting: bool = False) -> None:
        """Show a text if the time for one has come; a lasting one always, and it stays."""
        now = time.monotonic()
        if not lasting and now - self._last < self._every:
            return
        self._last = now
        start, end = ("\r\x1b[K", "\n" if lasting else "") if self.live else ("", "\n")
        print(f"{start}{text}", end=end, file=sys.stderr, flush=True)

    def close(self) -> None:
        """Leave the terminal's line clean."""
        if self.live:
            print("\r\x1b[K", end="", file=sys.stderr, flush=True)


class StageLine(StatusLine):
    """How far an audit is, or anything else that is done file by file.

    Args:
        before: what each line begins with.
    """

    def __init__(self, before: str = "") -> None:
        super().__init__()
        self._before = before

    def __call__(
        self, stage: str, done: int, total: int, seconds_left: float | None = None
    ) -> None:
        text = f"{self._before}{stage} {done:,}/{total:,}"
        if seconds_left is not None:
            text += f"  {wording.duration(seconds_left)} left"
        self.show(text)


class ProgressLine(StatusLine):
    """How far a run is: a line an epoch stays; elsewhere than on a terminal half a minute each."""

    def __init__(self) -> None:
        super().__init__(every=30)
        self._last = -math.inf  # the first at once: a run's first stage may take minutes

    def __call__(self, progress: Progress) -> None:
        self.show(progress_line(progress), lasting=progress.stage == "epoch")


def progress_line(progress: Progress) -> str:
    """Return how far a run is, with the time left, in one line."""
    what = {
        "scanning": "scanning files",
        "reading": "reading radiographs",
        "features": "computing features",
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


def draws(text: str) -> int:
    """Read how often something is drawn, for the command line."""
    if not text.isdecimal() or not 100 <= int(text) <= 100_000:
        raise argparse.ArgumentTypeError(f"{text} is not a number from 100 to 100000")
    return int(text)


def print_table(title: str, rows: list[dict[str, str]]) -> None:
    """Print rows under their headings, in columns that fit."""
    print(f"\n{title}")
    lines = [list(rows[0]), *(list(row.values()) for row in rows)]
    widths = [max(len(line[i]) for line in lines) for i in range(len(lines[0]))]
    for line in lines:
        print("  " + "  ".join(text.ljust(width) for text, width in zip(line, widths)).rstrip())
