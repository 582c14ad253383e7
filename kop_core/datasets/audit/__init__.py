"""The audit of a data set: copies, contradictions, shortcuts and what a split would leak."""

from kop_core.datasets.audit.engine import audit, examine_split, with_radiographs
from kop_core.datasets.audit.report import (
    STRENGTHS,
    AuditReport,
    FileFacts,
    Leakage,
    Link,
    Shortcut,
    SplitExamined,
)

__all__ = [
    "STRENGTHS",
    "AuditReport",
    "FileFacts",
    "Leakage",
    "Link",
    "Shortcut",
    "SplitExamined",
    "audit",
    "examine_split",
    "with_radiographs",
]
