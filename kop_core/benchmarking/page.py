"""The page of the benchmark: Markdown and figures, from the collected results alone."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np

from kop_core import documents, networks, wording
from kop_core.benchmarking import figures, runs
from kop_core.benchmarking.planning import REFERENCE, entrant
from kop_core.benchmarking.results import BY_RADIOGRAPH, Arm, Results, read_all
from kop_core.classes import CLASS_NAMES
from kop_core.errors import RunError
from kop_core.evaluation import Estimate, Predictions, published, words
from kop_core.evaluation.repeated import Repeated
from kop_core.networks import pretrained
from kop_core.training.run_folder import replacing

PAGE = "README.md"
AREAS = "auc.svg"
PROVES_NOTHING = (
    "**This was a quick run, on a handful of files, with hardly any training. Its figures prove "
    "nothing but that everything works.**"
)
# Names of files in a sentence.
_LISTED = 10
# Heading, figure, whether it is written as a share.
_COLUMNS = (
    ("macro AUC", "macro_roc_auc", False),
    ("balanced accuracy", "balanced_accuracy", True),
    ("macro F1", "macro_f1", False),
    ("accuracy by radiograph", BY_RADIOGRAPH, True),
    ("accuracy by image", "accuracy", True),
)


def write(out: Path) -> Path:
    """Write ``README.md`` and the figures of every data set that was collected.

    Args:
        out: folder with a folder of results for each data set.

    Returns:
        The page.

    Raises:
        RunError: if there are no results, or they are damaged.
        KopError: if matplotlib is not installed.
    """
    found = read_all(out)
    if not found:
        raise RunError(
            f"{out} holds no results yet. Run the benchmark on a data set first: "
            f"python -m kop_core benchmark --data FOLDER --out {out}"
        )
    lines = [*_head(found)]
    for results in found:
        lines += _data_set(results)
    lines += _literature()
    page = out / PAGE
    with replacing(page) as stream:
        stream.write(("\n".join(lines).rstrip() + "\n").encode())
    return page


def _title(name: str) -> str:
    """Return what a network is called in a sentence, and how it took part."""
    return entrant(name).title


def _head(found: Sequence[Results]) -> Iterator[str]:
    yield "# Every network on the same folds"
    yield ""
    yield (
        "Every network of KOP is trained on the same folds of the same radiographs with the same "
        "budget, and tested on the fold that it did not see. The folds of a repeat together test "
        "every image that can be read once; figures are of all of them, and with several repeats, "
        "each with other folds and other first weights, their mean. By radiograph, all files that "
        "show one radiograph stay in one fold. By the random split of the files, which is how the "
        "literature measures, copies of a test image may be in training: as far as there are any, "
        "which the headings say, those figures say how well copies are recognised."
    )
    yield ""
    yield (
        "In round brackets: 95 % intervals by bootstrap over radiographs, not files. They say how "
        "much other radiographs would change the mean of the repeats; how much other folds and "
        "weights do, the square brackets say: the lowest and the highest repeat. Macro AUC and "
        "macro F1 are plain means of the three classes, AUC of each against the rest; 0.5 is "
        "chance. Accuracy by radiograph counts each radiograph once, by the mean of what was said "
        "of its files; one that is filed under several classes counts once under each, and is "
        "wrong in all but one. The other figures count images."
    )
    yield ""
    yield (
        "The weights are those of the last epoch: nothing was chosen by a test part. This page is "
        "written by `python -m kop_core benchmark` from the files beside it. Change those, not "
        "the page."
    )
    yield ""
    for results in found:
        quick = " A quick run: it proves nothing." if results.quick else ""
        yield f"- [{results.name}](#{documents.anchor(results.name)}): {_state(results)}{quick}"
    yield ""


def _state(results: Results) -> str:
    """Return how much is done, and what of the rest."""
    done, every = len(results.finished), len(results.entries)
    repeats = "repeat of a network" if every == 1 else "repeats of networks"
    if done == every:
        return f"all {every} {repeats} are done." if every > 1 else "its one repeat is done."
    begun = [
        f"{e['network']} ({e['arm']}, repeat {e['repeat']}) has {e['folds_done']} of {e['folds']} "
        "folds"
        for e in results.entries
        if e["state"] == runs.UNFINISHED and e["folds_done"]
    ]
    rest = f": {', '.join(begun)}" if begun else ""
    return f"**{done} of {every} {repeats} done**{rest}."


# One data set.


def _data_set(results: Results) -> Iterator[str]:
    yield f"## {results.name}"
    yield ""
    if results.quick:
        yield PROVES_NOTHING
        yield ""
    state = _state(results)
    yield state[0].upper() + state[1:]
    yield ""
    yield from _the_data(results.data)
    if results.arms:
        yield from _drawn(results)
        for arm in results.arms:
            yield from _arm(arm)
        yield from _size_and_speed(results)
        yield from _budget(results)


def _the_data(data: Mapping[str, Any]) -> Iterator[str]:
    counts = ", ".join(f"{count:,} {name}" for name, count in data["classes"].items())
    said = f"{data['files']:,} files: {counts}."
    if data["radiographs"]:
        who = (
            "As KOP's audit of the pictures found"
            if data["radiographs_from"] == "audit"
            else "As the data set says of itself"
        )
        said += (
            f" {who}, they show {data['radiographs']:,} radiographs, "
            f"{data['conflicted_radiographs']:,} of them filed under more than one class."
        )
    yield said
    yield ""


def _drawn(results: Results) -> Iterator[str]:
    names = dict.fromkeys(name for arm in results.arms for name in arm.networks)
    figures.areas(results.arms, {name: _short(name) for name in names}, results.folder / AREAS)
    yield f"![Macro AUC of every network on {results.name}](<{results.folder.name}/{AREAS}>)"
    yield ""
    if any(
        arm.figures(name)["macro_roc_auc"].range for arm in results.arms for name in arm.networks
    ):
        yield "Points: means of the repeats. Strokes below a line: each repeat."
        yield ""


def _short(name: str) -> str:
    return "paper's" if name == REFERENCE else _title(name)


def _heading(arm: Arm) -> str:
    return f"{arm.badge}, {arm.folds} folds"


def _arm(arm: Arm) -> Iterator[str]:
    heading = _heading(arm)
    yield f"### {heading[0].upper()}{heading[1:]}"
    yield ""
    rows = []
    for name in arm.networks:
        found = arm.figures(name)
        rows.append(
            (_title(name), _began(arm, name), _repeats(arm, name),
             *(_cell(found[metric], share) for _, metric, share in _COLUMNS))
        )  # fmt: skip
    head = ("network", "began with", "repeats", *(heading for heading, *_ in _COLUMNS))
    yield from documents.table(head, rows)
    one = arm.predictions(arm.networks[0])[0]
    if one.by_radiograph:
        yield f"Measured on {len(one.files):,} images of {len(set(one.radiographs)):,} radiographs."
    else:
        yield f"Measured on {len(one.files):,} images; which radiograph each shows is not known."
    yield ""
    if unread := _unread(arm):
        yield unread
        yield ""
    yield _without_looking(arm, one)
    yield ""
    yield from _differences(arm)


def _unread(arm: Arm) -> str:
    """Return which files could not be read, "" if all could or it was not noted."""
    of_folds = (fold for entry in arm.entries for fold in entry["of_folds"])
    names = sorted({file for fold in of_folds for file in fold.get("unreadable", ())})
    if not names:
        return ""
    listed = ", ".join(names[:_LISTED]) + (" …" if len(names) > _LISTED else "")
    are = "is" if len(names) == 1 else "are"
    return f"{len(names):,} of the files could not be read and {are} in no part: {listed}."


def _without_looking(arm: Arm, table: Predictions) -> str:
    """Return what is reached without a look at any picture, to hold the accuracies against."""
    counts = np.bincount(table.true, minlength=len(CLASS_NAMES))
    always, share = words.always_the_most_frequent(counts)
    said = (
        f"{always[0].upper()}{always[1:]} would be right in {wording.percent(share)} of the "
        f"images, with a balanced accuracy of {wording.percent(1 / np.count_nonzero(counts))}."
    )
    if all(entry["settings"]["class_weights"] == "balanced" for entry in arm.entries):
        said += (
            " The loss gave each class the same say, whatever its number: that is learned for the "
            "balanced accuracy, at the cost of the accuracy."
        )
    return said


def _began(arm: Arm, name: str) -> str:
    begins = {entry["settings"].get("pretrained") for entry in arm.of(name)}
    said = {None: "fresh weights", pretrained.IMAGENET: "ImageNet", pretrained.KNEES: "knees"}
    return ", ".join(sorted(said.get(one, f"ImageNet ({one})") for one in begins))


def _repeats(arm: Arm, name: str) -> str:
    return str(len(arm.of(name)))


def _cell(found: Repeated, share: bool) -> str:
    said = (words.share if share else words.number)(found.mean)
    if found.range is None:
        return said
    low, high = found.range
    return f"{said} [{_plain(low, share)}–{_plain(high, share)}]"


def _plain(value: float, share: bool) -> str:
    return f"{100 * value:.0f}" if share else f"{value:.2f}"


def _differences(arm: Arm) -> Iterator[str]:
    rows = []
    for name in arm.networks:
        found = arm.differences(name)
        if found is not None:
            differences, repeats = found
            cells = (_difference(differences[m].mean, share) for _, m, share in _COLUMNS)
            rows.append((_title(name), str(repeats), *cells))
    if not rows:
        if arm.networks != (REFERENCE,):
            yield "The paper's network is not among them yet, so there are no differences from it."
            yield ""
        return
    yield (
        "Differences from the paper's network, paired: on the same images, in the same folds, "
        "with the same draws of radiographs. Shares in percentage points. Bold: the interval "
        "leaves out 0."
        + (
            f" Each interval stands alone: of {len(rows)} networks that are no better, about "
            f"{0.05 * len(rows):.1f} would be expected to show a bold figure in a column by chance."
            if len(rows) > 1
            else ""
        )
    )
    yield ""
    yield from documents.table(("network", "repeats", *(heading for heading, *_ in _COLUMNS)), rows)


def _difference(found: Estimate, share: bool) -> str:
    if found.value is None:
        return words.NOT_DEFINED
    scale, decimals = (100, 0) if share else (1, 2)
    apart = found.low > 0 or found.high < 0
    if apart and min(abs(found.low), abs(found.high)) * scale < 0.5 * 10**-decimals:
        decimals += 1  # a limit that is written as 0 would seem to leave it in
    value, low, high = (_signed(scale * v, decimals) for v in (found.value, found.low, found.high))
    said = f"{value} ({low} to {high})"
    return f"**{said}**" if apart else said


def _signed(value: float, decimals: int) -> str:
    written = f"{value:+.{decimals}f}"
    return written.replace("-", "\u2212") if float(written) else written[1:]  # no sign of nothing


def _size_and_speed(results: Results) -> Iterator[str]:
    yield "### Size and speed"
    yield ""
    speed = results.speed
    timed = speed["networks"] if speed else {}
    rows = []
    for entry in {e["network"]: e for e in results.finished}.values():
        its, name = entry["settings"], entry["network"]
        found = timed.get(name)
        known = found is not None and found["size"] == its["size"]
        rows.append(
            (
                _title(name),
                _side(its),
                f"{entry['parameters']:,}",
                f"{found['milliseconds']:.1f} ({found['quartiles'][0]:.1f}–"
                f"{found['quartiles'][1]:.1f})"
                if known
                else "not measured",
                f"{found['ratio']:.2f}" if known and found["ratio"] else "",
                _minutes(results, name),
            )
        )
    head = ("network", "input, pixels", "parameters", "milliseconds an image (quartiles)",
            "of the paper's time", "minutes of training a fold")  # fmt: skip
    yield from documents.table(head, rows)
    yield (
        "Parameters: of the networks as they are trained here, with three outputs"
        f"{_pooled(results)}."
    )
    yield ""
    if speed:
        machine = speed["machine"]
        versions = ", ".join(f"{k} {v}" for k, v in machine["versions"].items())
        beside = any(found["ratio"] for found in timed.values())
        in_turn = " each network in turn with the paper's," if beside else ""
        yield (
            f"Milliseconds: the median of {speed['calls']} calls of one image each, warm, in "
            f"float32 and without the reading of the file,{in_turn} "
            f"on one machine ({machine['processor']}, {machine['cores']} cores; {versions})."
        )
        yield ""


def _pooled(results: Results) -> str:
    """Say of which networks the published dense layers are not there."""
    names = dict.fromkeys(e["settings"]["network"] for e in results.finished)
    known = [networks.get(name) for name in names if name in networks.names()]
    pooled = [network.title for network in known if network.options.get("head") == "pooled"]
    if not pooled:
        return ""
    return (
        f"; {', '.join(pooled)} with a mean over the picture and one dense layer in the place of "
        "their three dense layers, which would have most of their parameters"
    )


def _side(its: Mapping[str, Any]) -> str:
    """Return height and width of the input."""
    if its["network"] not in networks.names():
        return f"{its['size']} × {its['size']}" if its["size"] else "its own"
    shown = networks.get(its["network"]).input_of(its["size"], its["view"])
    return f"{shown.height} × {shown.width}"


def _minutes(results: Results, name: str) -> str:
    minutes = [
        fold["minutes"]
        for entry in results.finished
        if entry["network"] == name
        for fold in entry["of_folds"]
    ]
    low, high = (f"{v:.1f}" for v in (min(minutes), max(minutes)))
    return low if low == high else f"{low} to {high}"


def _budget(results: Results) -> Iterator[str]:
    """Say what all networks share, and where each begins."""
    yield "### Budget"
    yield ""
    settings = [entry["settings"] for entry in results.finished]
    shared = {
        key: value for key, value in settings[0].items() if all(s[key] == value for s in settings)
    }
    rows = [(title, say(shared)) for title, needs, say in _SHARED if needs <= shared.keys()]
    momentum = {s["options"].get("batch_norm_momentum") for s in settings} - {None}
    if momentum:
        said = ", ".join(f"{m:g}" for m in sorted(momentum))
        rows.append(("momentum of batch normalisation, where there is any", said))
    rows.append(("precision of training", _said_of_folds(results, _precision)))
    rows.append(("computed with", _said_of_folds(results, _computed_with)))
    yield from documents.table(("setting", "of every network"), rows)
    yield from _beginnings(results)


def _precision(fold: Mapping[str, Any]) -> str:
    return str(fold["precision"])


def _computed_with(fold: Mapping[str, Any]) -> str:
    return wording.computed_with(fold["versions"])


def _said_of_folds(results: Results, say: Callable[[Mapping[str, Any]], str]) -> str:
    """Say how was trained, and of which networks if not of all the same."""
    found: dict[str, dict[str, None]] = {}
    for entry in results.finished:
        for fold in entry["of_folds"]:
            found.setdefault(say(fold), {})[_title(entry["network"])] = None
    if len(found) == 1:
        return next(iter(found))
    return "; ".join(f"{name}: {', '.join(found[name])}" for name in sorted(found))


_OPTIMISERS = {"adam": "Adam", "adamw": "AdamW", "rmsprop": "RMSprop", "sgd": "SGD"}
_FALLS = {
    "cosine": "falls to zero as a cosine",
    "constant": "stays",
    "steps": "a tenth after half of the epochs, a hundredth after three quarters",
}
_SHARED = (
    ("epochs", {"epochs"}, lambda s: str(s["epochs"])),
    ("pictures a step", {"batch_size"}, lambda s: str(s["batch_size"])),
    ("optimiser", {"optimizer", "weight_decay"},
     lambda s: f"{_OPTIMISERS[s['optimizer']]}, weight decay {s['weight_decay']:g}"),
    ("learning rate", {"learning_rate", "schedule", "warmup_epochs"},
     lambda s: f"{s['learning_rate']:g}, {_FALLS[s['schedule']]}, after "
     f"{s['warmup_epochs']:g} epochs of warm-up" if s["warmup_epochs"]
     else f"{s['learning_rate']:g}, {_FALLS[s['schedule']]}"),
    ("classes in the loss", {"class_weights"},
     lambda s: "each the same say" if s["class_weights"] == "balanced" else "as many as there are"),
    ("augmentation", {"augmentation"}, lambda s: _augmentation(s["augmentation"])),
)  # fmt: skip


def _augmentation(given: Mapping[str, Any] | None) -> str:
    if not given:
        return "none"
    return ", ".join(f"{k} {v:g}" if not isinstance(v, bool) else k for k, v in given.items() if v)


_ON_IMAGENET = "Began with weights learned on ImageNet"
_ON_KNEES = (
    "Began with weights learned on knees graded for osteoarthritis (KOP's encoder; "
    "assets/weights/NOTICE.md says which knees it saw)"
)


def _first(settings: Iterable[Mapping[str, Any]]) -> str:
    """Say in what order the parts of networks learned, after weights that they began with."""
    stages = Counter((s["head_epochs"], s["backbone_rate"]) for s in settings)
    (head, rate), _ = stages.most_common(1)[0]
    first = (
        f"for {head} epoch{'s' if head > 1 else ''} only their heads learned, then everything, "
        "the backbone"
        if head
        else "everything learned, the backbone"
    )
    return f"{first} at {rate:g} of the learning rate."


def _beginnings(results: Results) -> Iterator[str]:
    by_name = {e["network"]: e["settings"] for e in results.finished}
    fresh = [_title(n) for n, s in by_name.items() if not s.get("pretrained")]
    on_knees = {n: s for n, s in by_name.items() if s.get("pretrained") == pretrained.KNEES}
    others = {n: s for n, s in by_name.items() if s.get("pretrained") and n not in on_knees}
    for said, given in ((_ON_IMAGENET, others), (_ON_KNEES, on_knees)):
        if given:
            yield f"{said}: {', '.join(map(_title, given))}. Of these {_first(given.values())}"
            yield ""
    if fresh:
        yield (
            "Began with fresh weights, because that was asked for or no published ones were at "
            f"hand here: {', '.join(fresh)}. With so few radiographs a network that begins so is "
            "at a disadvantage, which says nothing of its architecture."
        )
        yield ""


# What others report.


def _literature() -> Iterator[str]:
    yield "## What the literature reports"
    yield ""
    yield (
        f"Table 3 of {published.REFERENCE}. These are other images, split at random or not said "
        "how; no study says how copies of a radiograph were kept apart, and none gives an "
        "interval. They cannot be ranked among the figures above."
    )
    yield ""
    rows = [
        (
            row.study + (f" [{row.citation}]" if row.citation else " (the paper)"),
            f"{row.images:,}" if row.images else "not given",
            row.network,
            f"{100 * row.accuracy:.2f}".rstrip("0").rstrip("."),
            "not given" if row.citation else "random split",
        )
        for row in published.TABLE_3
    ]
    yield from documents.table(("study", "images", "network", "accuracy, %", "split"), rows)
