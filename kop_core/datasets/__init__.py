"""Data sets: scanning folders, splitting them, and feeding them to training."""

from kop_core.datasets.scanning import DataSet, Item, scan
from kop_core.datasets.splits import Split, leakage, random_split

__all__ = ["DataSet", "Item", "Split", "leakage", "random_split", "scan"]
