"""``predictions.csv``, the currency of evaluation: one row a test image."""

from __future__ import annotations

import csv
import math
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from kop_core.classes import CLASS_NAMES
from kop_core.errors import DataSetError

COLUMNS = ("file", "radiograph", "true", *(f"p_{name}" for name in CLASS_NAMES))


@dataclass(frozen=True, eq=False)
class Predictions:
    """What a model said of each test image.

    Attributes:
        files: names of the images.
        radiographs: which radiograph each shows, ``""`` where unknown.
        true: index of the true class, int, shape (images,).
        probabilities: float64, shape (images, classes), rows sum to 1.
    """

    files: tuple[str, ...]
    radiographs: tuple[str, ...]
    true: np.ndarray
    probabilities: np.ndarray

    @property
    def predicted(self) -> np.ndarray:
        """Index of the class with the largest probability, shape (images,)."""
        return self.probabilities.argmax(axis=1)

    @property
    def groups(self) -> np.ndarray:
        """Number of the radiograph that each image shows; an unknown one stands alone."""
        keys = [r or f"file:{f}" for r, f in zip(self.radiographs, self.files)]
        return np.unique(keys, return_inverse=True)[1]

    @property
    def by_radiograph(self) -> bool:
        """Whether it is known of every image which radiograph it shows."""
        return all(self.radiographs)

    def part(self, chosen: np.ndarray) -> Predictions:
        """Return some of the images.

        Args:
            chosen: which, bool, shape (images,).
        """
        places = np.flatnonzero(chosen)
        return Predictions(
            tuple(self.files[i] for i in places),
            tuple(self.radiographs[i] for i in places),
            self.true[places],
            self.probabilities[places],
        )

    def write(self, path: Path) -> None:
        """Write the table; six decimals keep every row's sum at 1 within 3e-6."""
        with path.open("w", newline="", encoding="utf-8") as stream:
            rows = csv.writer(stream)
            rows.writerow(COLUMNS)
            for file, radiograph, true, p in zip(
                self.files, self.radiographs, self.true, self.probabilities
            ):
                rows.writerow([file, radiograph, CLASS_NAMES[true], *(f"{v:.6f}" for v in p)])

    @classmethod
    def read(cls, path: Path) -> Predictions:
        """Read a table of predictions.

        Raises:
            DataSetError: naming the line, if a column, file, class or probability is wrong.
        """
        files: dict[str, int] = {}
        radiographs, true, probabilities = [], [], []
        try:
            with path.open(newline="", encoding="utf-8-sig") as stream:
                rows = csv.DictReader(stream)
                missing = [c for c in COLUMNS if c not in (rows.fieldnames or ())]
                if missing:
                    raise DataSetError(
                        f"{path.name} lacks the column {', '.join(missing)}. A table of "
                        f"predictions has the columns {', '.join(COLUMNS)}."
                    )
                for row in rows:
                    line = rows.line_num  # empty lines are passed over, and count
                    where = f"{path.name}, line {line}"
                    p = _probabilities(row, where)
                    _note_file(files, row["file"], line, where)
                    radiographs.append(row["radiograph"] or "")
                    true.append(CLASS_NAMES.index(row["true"]))
                    probabilities.append(p)
        except OSError as error:
            why = error.strerror or error
            raise DataSetError(f"{path} cannot be read as predictions: {why}.") from error
        except (UnicodeDecodeError, csv.Error) as error:
            raise DataSetError(
                f"{path} cannot be read as predictions: it is no table in UTF-8 ({error})."
            ) from error
        if not files:
            raise DataSetError(f"{path.name} holds no predictions.")
        return cls(tuple(files), tuple(radiographs), np.array(true), np.array(probabilities))


def _note_file(files: dict[str, int], file: str, line: int, where: str) -> None:
    if not file:
        raise DataSetError(f"{where}: there is no name of a file.")
    if file in files:
        raise DataSetError(
            f"{where}: {file!r} is on line {files[file]} already. Keep one row for each image."
        )
    files[file] = line


def _probabilities(row: dict[str, str], where: str) -> list[float]:
    if row["true"] not in CLASS_NAMES:
        raise DataSetError(f"{where}: {row['true']!r} is none of {', '.join(CLASS_NAMES)}.")
    try:
        p = [float(row[f"p_{name}"]) for name in CLASS_NAMES]
    except (TypeError, ValueError):
        raise DataSetError(f"{where}: a probability is not a number.") from None
    if not all(math.isfinite(v) and 0 <= v <= 1 for v in p):
        raise DataSetError(f"{where}: a probability is not between 0 and 1.")
    if abs(sum(p) - 1) > 1e-3:
        raise DataSetError(f"{where}: the probabilities sum to {sum(p):.3f}; they do not sum to 1.")
    return p
