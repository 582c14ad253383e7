"""Models side by side, in sentences and tables of words: the same on the page, in the file that
is sent to a colleague and in the terminal."""

from __future__ import annotations

from collections.abc import Collection, Sequence
from typing import TYPE_CHECKING, Any

from kop_core import wording
from kop_core.evaluation import published, words
from kop_core.evaluation.compared import Compared, Disagreement, Entry, Pair, published_split
from kop_core.evaluation.comparison import Difference
from kop_core.evaluation.intervals import Estimate
from kop_core.evaluation.significance import McNemar

if TYPE_CHECKING:
    from kop_core.model_store import Model

LEVEL = 0.05
_SAID = 3  # pairs in sentences; all are in the table
NOT_SAID = "not given"
_COPIES_NOT_KNOWN = (
    "Which files show the same radiograph is not known there, so copies count as evidence of "
    "their own: these intervals may be too narrow, and these p-values too small."
)
_NAMES = {
    "precision": "precision", "recall": "sensitivity", "f1": "F1", "specificity": "specificity",
    "roc_auc": "ROC AUC", "average_precision": "average precision",
}  # fmt: skip
_OVERALL = {
    "accuracy": "Accuracy",
    "balanced_accuracy": "Balanced accuracy",
    "quadratic_weighted_kappa": "Quadratic-weighted kappa",
    "brier_score": "Brier score",
    "expected_calibration_error": "Expected calibration error",
}
_NO_SHARES = ("quadratic_weighted_kappa", "brier_score")
_LESS_IS_BETTER = ("brier_score", "expected_calibration_error")


def title(figure: str) -> str:
    """Return what a figure is called: ``macro_f1`` is the macro F1."""
    if figure in _OVERALL:
        return _OVERALL[figure]
    for before, said in (("macro_", "Macro "), ("weighted_", "Weighted ")):
        if figure.startswith(before):
            return said + _NAMES[figure.removeprefix(before)]
    name, _, of = figure.rpartition("_")
    called = _NAMES[name]
    return f"{called[:1].upper()}{called[1:]}, {of}"


def is_share(figure: str) -> bool:
    """Return whether a figure is written in per cent."""
    areas = ("roc_auc", "average_precision")
    return figure not in _NO_SHARES and not any(area in figure for area in areas)


def value(figure: str, found: Estimate) -> str:
    """Return a figure with its interval."""
    return (words.share if is_share(figure) else words.number)(found)


def difference(figure: str, found: Difference) -> str:
    """Return a difference with its interval: ``+3 (−1 to +7) points``, ``−0.02 (−0.05 to 0.01)``.

    Shares differ by percentage points.
    """
    if found.value is None:
        return words.NOT_DEFINED
    values = (found.value, found.low, found.high)
    if is_share(figure):
        said, low, high = (_signed(100 * v, 1) for v in values)
        return f"{said} ({low} to {high}) points"
    said, low, high = (_signed(v, 3) for v in values)
    return f"{said} ({low} to {high})"


def _signed(number: float, decimals: int) -> str:
    written = f"{number:+.{decimals}f}"
    return written.replace("-", "−") if float(written) else f"{0:.{decimals}f}"


def p_value(p: float | None) -> str:
    """Return a p-value as the field writes it, never as nothing."""
    if p is None:
        return words.NOT_DEFINED
    if p < 0.001:
        return "under 0.001"
    return f"{p:.3f}" if p < 0.1 else f"{p:.2f}"


def model_row(model: Model) -> dict[str, str]:
    """Return a model as a row of the table to choose from, by its card alone.

    What a badge says of its split is two short columns here.
    """
    evaluation, split = model.card["evaluation"], model.card["split"]
    protocol = str(split.get("protocol", "unknown")).removeprefix("by_")
    known = protocol in ("radiograph", "patient")
    accuracy = Estimate(**{k: model.metrics["accuracy"][k] for k in ("value", "low", "high")})
    return {
        "Model": model.title,
        "Id": model.id,
        "Accuracy (95 % CI)": words.share(accuracy),
        "Split": f"by {protocol}" if known else protocol,
        "Copies in training": _copies(split),
        "Tested on": f"{evaluation['images']:,} of {model.card['data'].get('name') or 'unknown'}",
    }


def _copies(split: dict[str, Any]) -> str:
    share, kind = split.get("same_radiograph_share"), ""
    if share is None:
        share, kind = split.get("identical_share"), " identical"
    if share is None:
        return "not known"
    return f"{wording.percent(share)} of test images{kind}" if share else "none"


def basis(compared: Compared, place: int) -> str:
    """Return what a row was tested on."""
    entry = compared.entries[place]
    said = words.basis(entry.evaluation)
    return said if len(set(compared.parts)) == 1 else f"{said}, test part {compared.parts[place]}"


def figures_table(compared: Compared) -> list[dict[str, str]]:
    """Return every model's figures with intervals, its split and what it was tested on."""
    return [
        {
            "Model": entry.label,
            "Id": entry.key,
            **{title(n): value(n, entry.evaluation.metrics[n]) for n in compared.figures},
            "Split": wording.split_badge(entry.split)[0],
            "Tested on": basis(compared, place),
        }
        for place, entry in enumerate(compared.entries)
    ]


def answer(compared: Compared) -> list[str]:
    """Return what the comparison comes to in the first of its figures, in a few sentences."""
    if len(compared.entries) < 2:
        return [compared.reason]
    if not compared.tested:
        return ["No two of these models can be tested against each other: the reasons are below."]
    figure = compared.figures[0]
    apart = [p for p in compared.tested if _significant(p.holm[figure])]
    if len(compared.tested) == 1:
        return [said_of_pair(compared, compared.tested[0], figure), *_more(compared)]
    name = _in_sentence(figure)
    if not apart:
        said = [
            f"No two of these models can be told apart in {name}: none of "
            f"{len(compared.tested)} pairs differs after Holm's correction."
        ]
        return [*said, *_more(compared)]
    said = [
        f"{len(apart)} of {len(compared.tested)} pairs "
        f"{'differs' if len(apart) == 1 else 'differ'} in {name} after Holm's correction."
    ]
    said += [said_of_pair(compared, pair, figure) for pair in apart[:_SAID]]
    if len(apart) > _SAID:
        said.append("The others are in the table of differences.")
    return [*said, *_more(compared)]


def warnings(compared: Compared) -> list[str]:
    """Return what must be known before two of these models are held against each other.

    Of an ensemble that it guesses, if it does: that is measured. Faults that were found in its
    members are said of these.
    """
    faults: dict[str, list[Entry]] = {}
    for entry in compared.entries:
        of_members = {c for key in entry.members for c in compared.entry(key).cautions}
        for caution in entry.cautions:
            if caution not in of_members:
                faults.setdefault(caution, []).append(entry)
    return [*_leaks(compared), *(f"{_listed(of)}: {caution}" for caution, of in faults.items())]


def _leaks(compared: Compared) -> list[str]:
    """Return a sentence for each test part on which a split that warns is beside one that does not.

    Models of different test parts are not tested against each other, so there is no warning.
    """
    said = []
    for part in dict.fromkeys(compared.parts):
        entries = [e for e, p in zip(compared.entries, compared.parts) if p == part]
        entries = [e for e in entries if not e.members]
        leaky = [e for e in entries if wording.split_badge(e.split)[1]]
        if not 0 < len(leaky) < len(entries):
            continue
        by_badge: dict[str, list[Entry]] = {}
        for entry in (*leaky, *(e for e in entries if e not in leaky)):
            by_badge.setdefault(wording.split_badge(entry.split)[0], []).append(entry)
        certain = all(_copied(entry.split) for entry in leaky)
        seen, recognises = (
            ("has seen", "recognises") if certain else ("has, or may have, seen", "may recognise")
        )
        said.append(
            " ".join(f"{_listed(of)}: {badge}." for badge, of in by_badge.items())
            + f" A model that {seen} copies of its test images {recognises} them, so a difference "
            "between these says nothing of which is better for a new patient."
        )
    return said


def _copied(split: dict[str, Any]) -> bool:
    return bool(split.get("same_radiograph_share") or split.get("identical_share"))


def _listed(entries: Sequence[Entry]) -> str:
    return ", ".join(entry.key for entry in entries)


def _more(compared: Compared) -> list[str]:
    untested = len(compared.pairs) - len(compared.tested)
    if not untested:
        return []
    return [
        f"{untested} {'pair was' if untested == 1 else 'pairs were'} not tested; the "
        f"{'reason is' if untested == 1 else 'reasons are'} below."
    ]


def _significant(p: float | None) -> bool:
    return p is not None and p <= LEVEL


def _in_sentence(figure: str) -> str:
    said = title(figure)
    return said if said[:2].isupper() else said[0].lower() + said[1:]


def said_of_pair(compared: Compared, pair: Pair, figure: str) -> str:
    """Return whether two models differ in a figure, in one sentence."""
    first, second = (compared.entry(key).label for key in (pair.first, pair.second))
    found, name = pair.differences[figure], _in_sentence(figure)
    if found.value is None:
        return f"How {first} and {second} differ in {name} is not defined on this test part."
    corrected = " after Holm's correction" if len(compared.tested) > 1 else ""
    p = f"p {equals(pair.holm[figure])}{corrected}"
    if not _significant(pair.holm[figure]):
        return (
            f"{first} and {second} cannot be told apart in {name} by this test part: the "
            f"difference is {difference(figure, found)}, {p}."
        )
    word = "higher" if found.value > 0 else "lower"
    said = f"{first} has a {word} {name} than {second}: {difference(figure, found)}, {p}."
    return f"{said} Less is better." if figure in _LESS_IS_BETTER else said


def equals(p: float | None) -> str:
    """Return what follows a p in a sentence: ``= 0.03``, ``under 0.001``."""
    said = p_value(p)
    return said if said.startswith("under") else f"= {said}"


def pairs_table(compared: Compared, figure: str) -> list[dict[str, str]]:
    """Return by how much every two models on one test part differ in a figure."""
    return [
        {
            "First less second": f"{pair.first} − {pair.second}",
            f"{title(figure)} (95 % CI)": difference(figure, pair.differences[figure]),
            "p": p_value(pair.differences[figure].p),
            "p, Holm": p_value(pair.holm[figure]),
        }
        for pair in compared.tested
    ]


def mcnemar_table(compared: Compared) -> list[dict[str, str]]:
    """Return McNemar's test of every two models on one test part."""
    known = [pair.by_radiograph for pair in compared.tested]
    voters = "Radiographs" if all(known) else "Radiographs or files" if any(known) else "Files"
    return [
        {
            "First, second": f"{pair.first}, {pair.second}",
            f"{voters} for first : second": votes(pair.mcnemar),
            "p, exact": p_value(pair.mcnemar.p),
            "p, Holm": p_value(pair.mcnemar_holm),
        }
        for pair in compared.tested
    ]


def interval_note(compared: Compared) -> str:
    """Return how the intervals of the figures were had, for under their table."""
    said = "In brackets: 95 % intervals, by a bootstrap over radiographs"
    unknown = [entry for entry in compared.entries if not entry.evaluation.by_radiograph]
    if not unknown:
        return f"{said}."
    if len(unknown) == len(compared.entries):
        return f"{said.removesuffix('radiographs')}files. {_COPIES_NOT_KNOWN}"
    return f"{said}; over files for {_listed(unknown)}. {_COPIES_NOT_KNOWN}"


def votes(found: McNemar) -> str:
    """Return for which of two models the radiographs speak: ``12 : 5, 121 for neither``."""
    return f"{found.first:,} : {found.second:,}, {found.ties:,} for neither"


def untested_table(compared: Compared) -> list[dict[str, str]]:
    """Return the pairs that are not tested, each with the reason."""
    return [
        {
            "Models": f"{pair.first}, {pair.second}",
            "Why they are not tested": pair.reason,
        }
        for pair in compared.pairs
        if not pair.comparable
    ]


def how_tested(compared: Compared) -> str:
    """Return how differences, intervals and p-values were had, for under the table."""
    number = len(compared.tested)
    holm = (
        f" Holm's correction is for {number} pairs, for each figure by itself: choose the figure "
        "before you look."
        if number > 1
        else ""
    )
    known = [pair.by_radiograph for pair in compared.tested]
    unknown = "" if all(known) else (
        f" {'Of some of these pairs' if any(known) else 'Here'} files take the place of "
        f"radiographs. {_COPIES_NOT_KNOWN}"
    )  # fmt: skip
    return (
        "Intervals: bootstrap over radiographs, the same draws for both models. p: the two models "
        "are exchanged at random, radiograph by radiograph, with all copies; p is how often the "
        "difference is then as large. McNemar's exact test: a radiograph speaks for the model that "
        f"classified more of its files as labelled.{holm} Where interval and p disagree, go by p."
        f"{unknown}"
    )


def size_table(entries: Sequence[Entry]) -> list[dict[str, str]]:
    """Return how large and how fast models are; not measured is said and not guessed."""
    return [
        {
            "Model": entry.label,
            "Parameters": f"{entry.parameters:,}" if entry.parameters else NOT_SAID,
            "File": f"{entry.bytes / 1e6:.1f} MB" if entry.bytes else NOT_SAID,
            "Milliseconds an image": "not measured"
            if entry.speed is None
            else f"{entry.speed.milliseconds:.1f} ({entry.speed.low:.1f}–{entry.speed.high:.1f})",
        }
        for entry in entries
    ]


def speed_note(entries: Sequence[Entry]) -> str:
    """Return how speed was measured, ``""`` if it was not."""
    speeds = [entry.speed for entry in entries if entry.speed]
    if not speeds:
        return ""
    return (
        f"Milliseconds: median of {speeds[0].repeats} images, one at a time, from a radiograph "
        "that was read to its scores; in brackets what eight of ten images lie between. Measured "
        f"on {speeds[0].machine}, with whatever else it did."
    )


def ensemble_note(compared: Compared) -> list[str]:
    """Return what the ensemble is, or why there is none."""
    if compared.no_ensemble:
        return [compared.no_ensemble]
    found = next((e for e in compared.entries if e.members), None)
    if found is None:
        return []
    said = "The ensemble is the mean of the probabilities of its members, image by image"
    served = [k for k in found.members if compared.entry(k).model.temperature is not None]
    if not served:
        return [f"{said}. Nothing was trained or chosen for it."]
    return [
        f"{said}, each as it is served: {', '.join(served)} with the temperature on its card, "
        "which was fitted on half of this test part."
    ]


def not_compared(name: str, reason: str) -> str:
    """Return that a model could not be compared, and why."""
    return f"{name} is not compared. {reason}"


RELIABILITY_NOTE = (
    "Of the outputs before any temperature on a card, as predictions.csv has them; the ensemble is "
    "of outputs as they are served."
)


def published_table() -> list[dict[str, str]]:
    """Return what the literature reports (Table 3 of the paper), with its data and split."""
    return [
        {
            "Study": row.study,
            "Network": row.network,
            "Accuracy, as printed": f"{100 * row.accuracy:g} %",
            "Images": f"{row.images:,}" if row.images else NOT_SAID,
            "Split": published_split(row),
            "Interval": NOT_SAID,
        }
        for row in published.TABLE_3
    ]


PUBLISHED_NOTE = (
    "As printed in Table 3 of Ali, Ibrahim and Altamer (2025). Each study had its own images, and "
    "whether copies of a test image were in training is not said. These figures cannot be held "
    "against those measured here, so they are not sorted among them."
)


def disagreement_table(
    found: Sequence[Disagreement], first: str, second: str
) -> list[dict[str, str]]:
    """Return the images on which two models disagree.

    Args:
        found: as :func:`kop_core.evaluation.compared.disagreements` gives them.
        first: what the first model is called.
        second: what the second is called.
    """
    return [
        {
            "File": one.file,
            "Radiograph": one.radiograph or "unknown",
            "Labelled": one.true,
            f"{first} called": f"{one.first} ({wording.percent(one.first_score)})",
            f"{second} called": f"{one.second} ({wording.percent(one.second_score)})",
            "Copies alike": f"{one.copies:,}",
        }
        for one in found
    ]


def _number(things: Collection[object], what: str) -> str:
    return f"{len(things):,} {what}{'' if len(things) == 1 else 's'}"


def disagreement_note(found: Sequence[Disagreement], first: str, second: str) -> str:
    """Return who is right where two models disagree, in a sentence."""
    if not found:
        return f"{first} and {second} call every test image by the same name."
    mine = sum(one.first == one.true for one in found)
    theirs = sum(one.second == one.true for one in found)
    neither = len(found) - mine - theirs
    radiographs = {one.radiograph for one in found}
    if "" in radiographs:
        counted = f"{_number(found, 'file')}, of which copies are not known"
    else:
        counted = (
            f"{_number(found, 'case')} of {_number(radiographs, 'radiograph')} (copies that are "
            "labelled and called alike count once)"
        )
    return (
        f"They disagree on {counted}: {mine:,} where {first} calls what it is labelled, "
        f"{theirs:,} where {second} does, {neither:,} where neither does."
    )
