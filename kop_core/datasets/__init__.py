"""Data sets: scanning folders, splitting them, and feeding them to training."""

from kop_core.datasets.scanning import DataSet, Item, scan
from kop_core.datasets.splits import (
    Split,
    folds_by_radiograph,
    leakage,
    make_split,
    random_split,
    split_by_patient,
    split_by_radiograph,
    with_radiographs,
)

__all__ = [
    "DataSet",
    "Item",
    "Split",
    "folds_by_radiograph",
    "leakage",
    "make_split",
    "random_split",
    "scan",
    "split_by_patient",
    "split_by_radiograph",
    "with_radiographs",
]
