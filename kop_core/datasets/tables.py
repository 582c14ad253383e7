"""The CSV tables that may lie beside radiographs, read with care: people wrote them."""

from __future__ import annotations

import csv
import re
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

from kop_core.errors import DataSetError

MAX_BYTES = 64 * 2**20
MAX_ROWS = 200_000

# What a column may be called, letters only, lower case; the first that is there counts.
FILE = ("file", "filename", "filepath", "path", "image", "imagepath", "imagefile", "img")
CLASS = ("class", "classname", "true", "label", "diagnosis", "category")
PATIENT = ("patient", "patientid", "patientnumber", "subject", "subjectid")
RADIOGRAPH = ("radiograph", "radiographid", "group", "groupid")


@dataclass(frozen=True)
class Table:
    """A CSV table.

    Attributes:
        path: where it lies.
        columns: their names, as written.
        rows: number of the line in a spreadsheet, and cells by column, stripped.
    """

    path: Path
    columns: tuple[str, ...]
    rows: tuple[tuple[int, Mapping[str, str]], ...]

    def column(self, names: tuple[str, ...]) -> str | None:
        """Return the column that is called by one of ``names``, or ``None``."""
        written = {}
        for column in self.columns:
            written.setdefault(re.sub(r"[^a-z]", "", column.lower()), column)
        return next((written[name] for name in names if name in written), None)

    def need(self, names: tuple[str, ...], what: str) -> str:
        """Return the column that is called by one of ``names``.

        Raises:
            DataSetError: if there is none.
        """
        found = self.column(names)
        if found is None:
            there = ", ".join(self.columns[:8]) or "none"
            raise DataSetError(
                f"{self.path} has no column of {what}: it needs one called "
                f"{' or '.join(names[:4])}. Columns there: {there}."
            )
        return found


def read_table(path: Path) -> Table:
    """Read a CSV table in UTF-8, with commas, semicolons or tabs.

    Raises:
        DataSetError: if it cannot be opened, is no such table, or is too large.
    """
    text = _text(path)
    try:
        reader = csv.reader(text.splitlines(keepends=True), delimiter=_delimiter(text))
        header = next(reader, [])
        columns = tuple(cell.strip() for cell in header)
        rows = []
        for number, cells in enumerate(reader, start=2):
            if not any(cell.strip() for cell in cells):
                continue
            if len(rows) == MAX_ROWS:
                raise DataSetError(
                    f"{path} has more than {MAX_ROWS:,} rows. Divide it into several tables."
                )
            padded = [*cells, *[""] * (len(columns) - len(cells))]
            rows.append((number, {c: v.strip() for c, v in zip(columns, padded)}))
    except csv.Error as error:
        raise DataSetError(
            f"{path} cannot be read as a table ({error}). Save it again as CSV in UTF-8."
        ) from error
    return Table(path, columns, tuple(rows))


def _text(path: Path) -> str:
    try:
        if path.stat().st_size > MAX_BYTES:
            raise DataSetError(
                f"{path} is larger than {MAX_BYTES // 2**20} MB. Divide it into several tables."
            )
        # newline="" keeps line ends inside quoted cells for the csv module.
        with path.open(newline="", encoding="utf-8-sig") as stream:
            return stream.read()
    except UnicodeDecodeError as error:
        raise DataSetError(
            f"{path} is not text in UTF-8 (byte {error.start + 1:,}). Save it again as CSV in "
            "UTF-8; Excel calls that CSV UTF-8."
        ) from error
    except OSError as error:
        raise DataSetError(f"{path} cannot be opened ({error.strerror}).") from error


def _delimiter(text: str) -> str:
    """Return what parts the cells: spreadsheets of half of Europe write semicolons."""
    header = text.partition("\n")[0]
    return max(",;\t", key=header.count)
