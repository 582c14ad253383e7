"""The three classes, in their one order, with the words and colours that go with them."""

from __future__ import annotations

import re
from dataclasses import dataclass


@dataclass(frozen=True)
class DiagnosticClass:
    """One diagnosis.

    Attributes:
        name: the word used in files, tables and programs.
        label: the word at the start of a sentence.
        colour: the class's colour everywhere; the three are told apart by
            colour-blind readers, on light and on dark (Okabe & Ito 2008).
        synonyms: folder names that mean this class, lower case, letters only. No
            abbreviations: "OP" is osteopenia to some and osteoporosis to others.
    """

    name: str
    label: str
    colour: str
    synonyms: frozenset[str]


HEALTHY = DiagnosticClass(
    "healthy",
    "Healthy",
    "#0072B2",
    frozenset({"healthy", "health", "normal", "control", "controls", "normalbone"}),
)
OSTEOPENIA = DiagnosticClass(
    "osteopenia",
    "Osteopenia",
    "#E69F00",
    frozenset({"osteopenia", "osteopenic", "osteopaenia"}),
)
OSTEOPOROSIS = DiagnosticClass(
    "osteoporosis",
    "Osteoporosis",
    "#D55E00",
    frozenset({"osteoporosis", "osteoporotic", "osteoperosis"}),
)

CLASSES: tuple[DiagnosticClass, ...] = (HEALTHY, OSTEOPENIA, OSTEOPOROSIS)
CLASS_NAMES: tuple[str, ...] = tuple(c.name for c in CLASSES)


def by_name(name: str) -> DiagnosticClass:
    """Return the class called ``name`` (one of :data:`CLASS_NAMES`).

    Raises:
        KeyError: for any other word.
    """
    return {c.name: c for c in CLASSES}[name]


def match(folder_name: str) -> str | None:
    """Return the class that a folder's name means, or ``None``.

    Case, digits, spaces and punctuation do not count: ``"Osteoporosis_"``,
    ``"1 - osteoporosis"`` and ``"OSTEOPOROTIC"`` are all ``"osteoporosis"``.
    """
    word = re.sub(r"[^a-z]", "", folder_name.lower())
    for diagnostic_class in CLASSES:
        if word in diagnostic_class.synonyms:
            return diagnostic_class.name
    return None
