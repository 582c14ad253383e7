"""Reports of audits made by hand, over generated pictures."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

from kop_core.datasets.audit.report import AuditReport, FileFacts, Leakage, Link, Shortcut
from kop_core.datasets.patients import summarise_patients
from kop_core.datasets.scanning import DataSet, scan
from kop_core.evaluation import Estimate
from tests.conftest import make_data

# By number of the file in each class: which radiograph it shows. The first radiograph is
# in every class; each class has another one twice; the rest are alone.
SHARED, TWICE = (0, 1), (2, 3)


def facts(true: str = "healthy", **changes) -> FileFacts:
    """One file's facts, as changed."""
    plain = FileFacts(
        file="Normal/a.png", true=true, radiograph="G0001", given="", patient="", sha256="0" * 64,
        bytes=2048, width=96, height=128, format="PNG", mode="L", brightness=0.4, contrast=0.2,
    )  # fmt: skip
    return replace(plain, **changes)


def make_report(folder: Path, count: int = 6) -> tuple[AuditReport, DataSet]:
    """Generated pictures, and a report that says of some of them that they are copies."""
    return report_of(scan(make_data(folder, count)))


def report_of(data: DataSet) -> tuple[AuditReport, DataSet]:
    """A report on a data set, as above."""
    files, links, of_class = [], [], dict.fromkeys(data.counts(), 0)
    first: dict[str, int] = {}
    for place, item in enumerate(data.items):
        number = of_class[item.true]
        of_class[item.true] += 1
        shared = "G0001" if number in SHARED else f"G-{item.true}" if number in TWICE else ""
        radiograph = shared or f"G{place + 100:04d}"
        if radiograph in first:
            strength = ("identical", "near", "part")[place % 3]
            links.append(Link(first[radiograph], place, strength, place % 2 == 0, 0.97))
        first.setdefault(radiograph, place)
        files.append(
            facts(
                item.true, file=item.file, radiograph=radiograph, patient=item.patient,
                sha256=item.sha256, contrast=0.1 + 0.01 * number,
            )
        )  # fmt: skip
    report = AuditReport(
        folder=data.folder,
        name=data.folder.name,
        fingerprint=data.fingerprint,
        files=tuple(files),
        links=tuple(links),
        unreadable=(("Normal/bad.png", "the picture breaks off before its end."),),
        passed_over=data.passed_over,
        shortcuts=shortcuts(),
        leakage=leakages(),
        patients=summarise_patients(data),
        seconds=1.5,
    )
    return report, data


def shortcuts() -> tuple[Shortcut, ...]:
    """One that recognises copies, and one that could not be measured by radiograph."""
    return (
        Shortcut(
            "nearest_copy", "The most similar picture", Estimate(0.94, 0.91, 0.96),
            Estimate(0.35, 0.27, 0.44), 0.46,
        ),
        Shortcut("file_facts", "Size of the file", Estimate(0.86, 0.83, 0.89), None, 0.46),
    )  # fmt: skip


def leakages() -> tuple[Leakage, ...]:
    """Two random splits and one by radiograph."""
    return (
        Leakage("random", 0, 10, 2, 6, 9),
        Leakage("random", 1, 10, 4, 6, 10),
        Leakage("radiograph", 0, 10, 0, 0, 0),
    )
