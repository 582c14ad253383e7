"""What an audit found, in sentences: the same on the page, in the report and in the terminal."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from typing import TYPE_CHECKING

from kop_core import wording
from kop_core.classes import CLASS_NAMES
from kop_core.datasets.audit.browsing import Group, all_groups

if TYPE_CHECKING:
    from kop_core.datasets.audit.report import AuditReport, FileFacts, Shortcut
    from kop_core.evaluation import Estimate

STRENGTHS = {
    "identical": "Identical files",
    "near": "Saved anew",
    "part": "Part of a picture",
}
STRENGTH_HELP = (
    "Identical files have the same bytes. Saved anew: the same picture re-encoded, rescaled, "
    "squeezed or brightened. Part of a picture: a crop, or one leg of a picture of two."
)
_AMONG = {
    "identical": "identical files",
    "near": "pictures saved anew",
    "part": "parts of a larger picture",
}
CONTRAST_HELP = (
    "Brightness is the mean grey value of a picture, 0 black to 1 white; contrast is the standard "
    "deviation of its grey values. Classes that differ here can be told apart without looking at "
    "bone."
)


def headline(report: AuditReport) -> str:
    """Return how many radiographs there really are."""
    radiographs, files = len(report.groups()), len(report.files)
    if not files:
        return "No file could be read."
    if radiographs == files:
        return f"{_count(files, 'file')}, and no radiograph is there twice."
    return f"{_count(radiographs, 'radiograph')} in {files:,} files."


def copies(report: AuditReport) -> str:
    """Return how many files are copies, in two or three sentences."""
    groups = all_groups(report)
    if not groups:
        return "No two files show the same radiograph."
    copied = sum(len(g.files) for g in groups)
    largest = groups[0]
    return (
        f"{copied:,} of {len(report.files):,} files show a radiograph that another file shows "
        f"too. {_count(len(groups), 'radiograph')} {_are(len(groups))} there more than once; "
        f"{largest.radiograph} is shown by {len(largest.files):,} files."
    )


def conflicts(report: AuditReport) -> str:
    """Return how many radiographs are filed under several classes."""
    found = [g for g in all_groups(report) if g.conflicted]
    if not found:
        return "No radiograph is filed under more than one class."
    files = sum(len(g.files) for g in found)
    verb = "is" if len(found) == 1 else "are"
    return (
        f"{_count(len(found), 'radiograph')} {verb} filed under more than one class. Of their "
        f"{files:,} files some must be wrong; no classifier can be right on all of them."
    )


def group(found: Group) -> str:
    """Return what a group is, in a sentence."""
    classes = listing([class_name(n) for n in found.classes])
    said = f"{len(found.files):,} files show it, filed under {classes}."
    if found.strengths:
        said += f" Found as {listing([_AMONG[s] for s in found.strengths])}"
        said += "; some are mirrored." if found.mirrored else "."
    return said


def patients(found: Group) -> str:
    """Return what is to be said of the patients of a group, or ``""``."""
    if len(found.patients) < 2:
        return ""
    return f"It is listed under {len(found.patients)} patients: {', '.join(found.patients)}."


def class_name(name: str) -> str:
    """Return a class's name inside a sentence."""
    return name if name in CLASS_NAMES else f"“{name}”" if name else "no class"


def shortcut(found: Shortcut) -> str:
    """Return what a shortcut reaches, and what that means."""
    by = found.by_radiograph
    if found.random is None or found.random.value is None:
        return f"{found.title}. Not measured: there is too little to tell apart."
    said = f"{found.title}. Right on {_estimate(found.random)} of the files by random split, "
    if by is None or by.value is None:
        said += "by radiograph it cannot be measured"
    else:
        said += f"on {_estimate(by)} by radiograph"
    said += f". Calling everything the largest class is right on {wording.percent(found.majority)}."
    if by is None or by.low is None:
        return said
    if by.low > found.majority:
        return f"{said} It tells classes apart without looking at bone."
    if found.random.low is not None and by.high is not None and found.random.low > by.high:
        return f"{said} What it scores by random split is recognition of copies."
    return said


def _estimate(found: Estimate | None) -> str:
    if found is None or found.value is None:
        return "not measured"
    if found.low is None or found.high is None:
        return wording.percent(found.value)
    value, low, high = wording.percent(found.value), 100 * found.low, 100 * found.high
    return f"{value} (95 % CI {low:.0f}–{high:.0f})"


def leakage(report: AuditReport) -> str:
    """Return what a random split of the files would leak."""
    found = [k for k in report.leakage if k.protocol == "random" and k.test_files]
    if not found:
        return "What a random split would leak was not measured: there is too little to split."
    shares = [k.any / k.test_files for k in found]
    identical = sum(k.identical / k.test_files for k in found) / len(found)
    share = sum(shares) / len(shares)
    if not share:
        return "By a random split no test file has a copy in training."
    measures = (
        "says mostly how well copies are recognised"
        if share >= 0.5
        else "is partly recognition of copies"
    )
    return (
        f"By a random split of the files {wording.percent(share)} of the test files have a picture "
        f"of the same radiograph in training; {wording.percent(identical)} have a byte-identical "
        f"one. An accuracy measured so {measures}. Split by radiograph."
    )


def unreadable(report: AuditReport) -> str:
    """Return how many files could not be read, or ``""``."""
    count = len(report.unreadable)
    if not count:
        return ""
    verb = "was" if count == 1 else "were"
    return f"{_count(count, 'file')} could not be read and {verb} left out."


def passed_over(report: AuditReport) -> str:
    """Return how many files and folders were passed over, or ``""``."""
    count = len(report.passed_over)
    return f"{_count(count, 'entry', 'entries')} passed over." if count else ""


def patient_variables(report: AuditReport) -> str:
    """Return what the patient variables are known of, or ``""``."""
    if not report.patients:
        return ""
    known, counted = report.patients["known"], report.patients["counted"]
    variables = report.patients["variables"].items()
    texts = [wording.within(wording.variable(n)) for n, v in variables if v["kind"] == "text"]
    said = (
        f"Known of {known:,} {counted}. A variable that differs between the classes predicts them "
        "without a radiograph: compare a model with what age alone can do."
    )
    if texts:
        said += f" Not drawn, because their words differ too much: {', '.join(texts)}."
    return said


def facts(found: FileFacts) -> str:
    """Return what a file is, in few words."""
    kilobytes = max(found.bytes / 1024, 0.1)
    size = f"{kilobytes / 1024:,.1f} MB" if kilobytes >= 1024 else f"{kilobytes:,.0f} kB"
    return f"{found.width:,} × {found.height:,}, {found.format}, {size}"


def listed(pairs: Iterable[tuple[str, str]], most: int) -> tuple[list[str], int]:
    """Return files with reasons as sentences, at most so many, and how many more there are."""
    rows = [f"{file}: {reason.rstrip('.')}." for file, reason in pairs]
    return rows[:most], max(0, len(rows) - most)


def listing(words: Sequence[str]) -> str:
    """Return words as they stand in a sentence: ``a, b and c``."""
    return " and ".join(filter(None, [", ".join(words[:-1]), *words[-1:]]))


def _count(number: int, what: str, many: str | None = None) -> str:
    return f"1 {what}" if number == 1 else f"{number:,} {many or what + 's'}"


def _are(number: int) -> str:
    return "is" if number == 1 else "are"


def shortcut_table(report: AuditReport) -> list[dict[str, str]]:
    """Return the shortcuts, a row each, as words."""
    return [
        {
            "Looks at": s.title,
            "Random split": _estimate(s.random),
            "By radiograph": _estimate(s.by_radiograph),
            "Largest class": wording.percent(s.majority),
        }
        for s in report.shortcuts
    ]


def leakage_table(report: AuditReport) -> list[dict[str, str]]:
    """Return the leakage of each split that was tried, a row each, as words."""
    return [
        {
            "Split": f"by {k.protocol}" if k.protocol != "random" else "random",
            "Seed": str(k.seed),
            "Test files": f"{k.test_files:,}",
            "With an identical copy in training": _share(k.identical, k.test_files),
            "With a near-identical one or closer": _share(k.near, k.test_files),
            "With any picture of the radiograph": _share(k.any, k.test_files),
        }
        for k in report.leakage
    ]


def _share(count: int, whole: int) -> str:
    return f"{count:,} ({wording.percent(count / whole)})" if whole else "0"
