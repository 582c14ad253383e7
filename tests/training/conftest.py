"""Small data whose radiographs are known: two files each."""

from __future__ import annotations

import csv

import pytest


@pytest.fixture
def small_data(small_data):
    """Twelve generated pictures a class, of six radiographs."""
    files = sorted(p.relative_to(small_data).as_posix() for p in small_data.rglob("*.png"))
    with (small_data / "radiographs.csv").open("w", newline="") as stream:
        rows = csv.writer(stream)
        rows.writerow(("file", "radiograph"))
        rows.writerows((file, f"R{place // 2}") for place, file in enumerate(files))
    return small_data
