"""Data sets: scanning folders, splitting them, and feeding them to training."""

from kop_core.datasets.patients import summarise_patients
from kop_core.datasets.scanning import DataSet, Item, scan, scan_manifest
from kop_core.datasets.splits import (
    Split,
    folds_by_radiograph,
    leakage,
    make_split,
    random_split,
    split_by_patient,
    split_by_radiograph,
    with_radiographs,
    with_validation,
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
    "scan_manifest",
    "split_by_patient",
    "split_by_radiograph",
    "summarise_patients",
    "with_radiographs",
    "with_validation",
]
