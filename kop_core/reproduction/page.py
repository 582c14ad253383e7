"""The page of the reproduction: Markdown and figures, from the collected results alone."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from kop_core import documents, networks, wording
from kop_core.classes import CLASSES
from kop_core.errors import RunError
from kop_core.evaluation import Estimate, published
from kop_core.reproduction import figures, look_up, meaning, runs, settings, words
from kop_core.reproduction.results import Arm, Results, read_all

if TYPE_CHECKING:
    from kop_core.datasets.audit import SplitExamined

PAGE = "README.md"
ACCURACY, LOSS, CONFUSION = "accuracy.svg", "loss.svg", "confusion.svg"
_MOST_NAMED = 2


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
            f"{out} holds no results yet. Run the reproduction on a data set first: "
            "python -m kop_core reproduce --data FOLDER"
        )
    lines = [*_head(found), *_table_1()]
    for results in found:
        lines += _data_set(results)
    page = out / PAGE
    page.write_text("\n".join(lines).rstrip() + "\n", encoding="utf-8")
    return page


def _head(found: Sequence[Results]) -> Iterator[str]:
    yield "# The paper, run again"
    yield ""
    yield (
        f"{published.REFERENCE}. Its network is trained here with the same settings twice: with "
        "the paper's random split of the files, and by radiograph, where all files that show one "
        "radiograph stay on one side. Tables 1 to 3 and Figures 7 to 9 are the paper's, beside "
        "ours."
    )
    yield ""
    yield (
        "Shares are in per cent. In brackets: 95 % intervals by bootstrap over radiographs, not "
        "files, of all runs of a column together; they do not say how much a newly trained "
        "network would differ, which the range over the runs does. The paper prints no interval. "
        "The test part was also the validation of each epoch, as in the paper; the weights are "
        "those of the last epoch."
    )
    yield ""
    yield (
        "This page is written by `python -m kop_core reproduce` from the files beside it. Change "
        "those, not the page."
    )
    yield ""
    for results in found:
        arms = [arm for arm in results.arms if arm.finished]
        figures_of = "; ".join(
            f"{words.with_interval(arm.evaluation.metrics['accuracy'])}, {arm.heading}"
            for arm in arms
        )
        name = f"[{results.name}](#{documents.anchor(results.name)})"
        yield f"- {name}: {figures_of or 'nothing yet'}. {_state(results)}"
    yield ""


def _state(results: Results) -> str:
    """Return how many runs are done, and what of the others."""
    entries = results.record["runs"]
    done = len(results.finished)
    if done == len(entries):
        return f"All {done} runs are done." if done > 1 else "The run is done."
    rest = [
        f"{e['name']} is at {e['epochs_done']} of {e['config']['epochs']} epochs"
        for e in entries
        if e["state"] == runs.UNFINISHED
    ]
    to_come = [e["name"] for e in entries if e["state"] == runs.MISSING]
    if len(to_come) > _MOST_NAMED:
        rest.append(f"{len(to_come)} have not begun")
    else:
        rest += [f"{name} has not begun" for name in to_come]
    return f"**{done} of {len(entries)} runs done**: {', '.join(rest)}."


# Table 1.


def _table_1() -> Iterator[str]:
    model = networks.build("paper")
    layers = [
        layer for layer in model.layers if "normalization" not in type(layer).__name__.lower()
    ]
    rows = []
    for printed, layer in zip(published.TABLE_1, layers, strict=True):
        ours = tuple(layer.output.shape[1:])
        rows.append((printed.name, _kernels(printed), _shape(printed.printed or printed.output),
                     _shape(ours)))  # fmt: skip
    counts = networks.counts(model)
    pairs = (
        ("Parameters", published.PARAMETERS, counts["parameters"]),
        ("trainable", published.TRAINABLE, counts["trainable"]),
        ("not trainable", published.NON_TRAINABLE, counts["non_trainable"]),
    )
    rows += [(name, "", f"{paper:,}", f"{ours:,}") for name, paper, ours in pairs]
    yield "## Table 1: the network"
    yield ""
    yield from documents.table(("layer", "kernels", "output, paper", "output, ours"), rows)
    same = all(paper == ours for _, paper, ours in pairs)
    misprints = [row for row in published.TABLE_1 if row.printed]
    yield (
        f"The numbers of parameters are {'the same' if same else 'not the same'}. "
        + " ".join(
            f"{row.name} {_shape(row.printed)} is a misprint for {_shape(row.output)}: only that "
            "gives the printed number of parameters."
            for row in misprints
            if row.printed
        )
    )
    yield ""


def _shape(shape: Sequence[int]) -> str:
    return " × ".join(map(str, shape))


def _kernels(row: published.LayerRow) -> str:
    if row.kernel is None:
        return ""
    kernel = f"{row.kernel} × {row.kernel}, stride {row.stride}"
    padding = {"valid": ", no padding", "same": ", same padding", None: ""}[row.padding]
    return f"{row.filters} of {kernel}{padding}" if row.filters else kernel


# One data set.


def _data_set(results: Results) -> Iterator[str]:
    yield f"## {results.name}"
    yield ""
    yield _state(results)
    yield ""
    yield from _the_data(results)
    arms = [arm for arm in results.arms if arm.finished]
    if arms:
        yield "### What it means"
        yield ""
        yield from (f"- {sentence}" for sentence in meaning.sentences(results))
        yield ""
        yield from _table_2(arms)
        yield from _table_3(results, arms)
        yield from _drawn(results, arms)
        yield from _leakage(results, arms)
    yield from _settings(results)


def _the_data(results: Results) -> Iterator[str]:
    """Say what the audit found, beside what the data set says of itself."""
    found = results.audit
    if not (found or results.finished):
        return
    yield "### The data"
    yield ""
    said = list(_stated(results.data))
    said += _audited(found) if found else [
        "KOP's audit is not here: the pictures were not at hand when the results were collected."
    ]  # fmt: skip
    yield from (f"- {sentence}" for sentence in said)
    yield ""
    if found and found["shortcuts"]:
        yield (
            "How often one is right who has learned nothing of bone. By radiograph, what lies "
            "above the largest class is a shortcut that a network can take too; what the random "
            "split adds to it is recognition of copies."
        )
        yield ""
        rows = [
            (s["title"], _plain_cell(s["random"]), _plain_cell(s["by_radiograph"]),
             f"{100 * s['majority']:.1f}")
            for s in found["shortcuts"].values()
        ]  # fmt: skip
        head = ("looks only at", "random split, five folds, %", "by radiograph, five folds, %",
                "largest class, %")  # fmt: skip
        yield from documents.table(head, rows)


def _stated(data: dict[str, Any]) -> Iterator[str]:
    if data.get("classes"):
        counts = ", ".join(f"{count:,} {name}" for name, count in data["classes"].items())
        yield f"{data['files']:,} files: {counts}."
    if not data.get("radiographs"):
        return
    if data.get("radiographs_from") == "audit":
        yield "The data set does not say which files show the same radiograph: the audit does."
    else:
        yield (
            f"As the data set says of itself, they show {data['radiographs']:,} radiographs, "
            f"{data['conflicted_radiographs'] or 0:,} of them filed under more than one class. The "
            "splits by radiograph go by that."
        )


def _audited(found: dict[str, Any]) -> Iterator[str]:
    files = found["files"]
    yield (
        f"KOP's audit, which only looks at the pictures, sees {found['radiographs']:,} radiographs "
        f"in {files:,} files. {found['copied_files']:,} files show a radiograph that another file "
        "shows too."
    )
    if found["conflicted_radiographs"]:
        yield (
            f"Of these radiographs {found['conflicted_radiographs']:,} are filed under more than "
            f"one class, in {found['conflicted_files']:,} files. Some of these labels must be "
            "wrong, and no classifier can be right on all of them."
        )
    leaked = found["random_split_leakage"]
    if leaked:
        yield (
            f"By a random split of the files {wording.percent(leaked['any'])} of the test images "
            "have a picture of the same radiograph in training, "
            f"{wording.percent(leaked['identical'])} a byte-identical one (mean of "
            f"{len(leaked['seeds'])} splits)."
        )
    if found["unreadable"]:
        yield f"{found['unreadable']:,} files could not be read, and the audit left them out."


def _plain_cell(figure: dict[str, float | None] | None) -> str:
    return _cell(None if figure is None else Estimate(**figure))


def _cell(estimate: Estimate | None) -> str:
    """Return a figure for a table whose head says that it is in per cent."""
    if estimate is None or estimate.value is None:
        return "not defined"
    return "{:.1f} ({:.1f}–{:.1f})".format(
        *(100 * v for v in (estimate.value, estimate.low, estimate.high))
    )


def _table_2(arms: Sequence[Arm]) -> Iterator[str]:
    yield "### Table 2: precision, sensitivity and F1 by class"
    yield ""
    rows = []
    for printed, c in zip(published.TABLE_2, CLASSES):
        for metric, name in (("precision", "precision"), ("recall", "sensitivity"), ("f1", "F1")):
            ours = [_cell(arm.evaluation.metrics[f"{metric}_{c.name}"]) for arm in arms]
            rows.append((c.label, name, f"{100 * getattr(printed, metric):.1f}", *ours))
    whole = (
        ("accuracy", "accuracy", f"{100 * published.ACCURACY:.2f}"),
        ("balanced_accuracy", "mean sensitivity", ""),
        ("macro_f1", "mean F1", ""),
    )
    for metric, name, printed in whole:
        ours = [_cell(arm.evaluation.metrics[metric]) for arm in arms]
        rows.append(("All", name, printed, *ours))
        if metric == "accuracy":
            rows.append(("All", "accuracy: mean and range of the runs", "",
                         *(_mean_and_range(arm) for arm in arms)))  # fmt: skip
    head = ("class", "%", "paper (random split, as printed)", *(_column(arm) for arm in arms))
    yield from documents.table(head, rows)


def _mean_and_range(arm: Arm) -> str:
    found = [100 * share for share in meaning.accuracies(arm)]
    mean = sum(found) / len(found)
    return f"{mean:.1f}, {min(found):.1f} to {max(found):.1f}" if len(found) > 1 else "one run"


def _column(arm: Arm) -> str:
    """Return the head of a column: the split, its badge, and what the figures rest on."""
    return f"{arm.heading}; {_runs(arm)}, {_rests_on(arm)}"


def _runs(arm: Arm) -> str:
    done = len(arm.finished)
    of = f" of {len(arm.runs)}" if done < len(arm.runs) else ""
    return f"{done}{of} run{'s' if len(arm.runs) > 1 else ''}"


def _rests_on(arm: Arm) -> str:
    found = arm.evaluation
    radiographs = f" of {found.groups:,} radiographs" if found.by_radiograph else ""
    return f"{found.images:,} test images{radiographs}"


def _table_3(results: Results, arms: Sequence[Arm]) -> Iterator[str]:
    yield "### Table 3: accuracy beside that of others, as the paper gives it"
    yield ""
    yield (
        "The studies used different images, and the paper does not say how any of them kept copies "
        "of a radiograph apart: the rows cannot be ranked."
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
    for arm in arms:
        accuracy = _cell(arm.evaluation.metrics["accuracy"])
        title = networks.get(arm.finished[0]["config"]["network"]).title
        files = results.data["files"]
        rows.append(("KOP, all runs", f"{files:,}", title, accuracy, arm.heading))
        for run, evaluation in zip(arm.finished, arm.evaluations):
            badge = wording.split_badge(run["split"])[0]
            cell = _cell(evaluation.metrics["accuracy"])
            rows.append((f"KOP, {arm.run_title(run)}", f"{evaluation.images:,} tested", "", cell,
                         badge))  # fmt: skip
    yield from documents.table(("study", "images", "network", "accuracy, %", "split"), rows)


def _drawn(results: Results, arms: Sequence[Arm]) -> Iterator[str]:
    folder = results.folder
    figures.accuracy_by_epoch(arms, folder / ACCURACY)
    figures.loss_by_epoch(arms, folder / LOSS)
    figures.confusion_matrices(arms, folder / CONFUSION)
    drawn = (
        ("Figure 7: accuracy by epoch", ACCURACY,
         "Dotted: training part. Solid: test part. Dash-dotted: what a look-up of the nearest "
         "picture, which learns nothing, scores on the same test part. A colour for each run."
         if any(look_up.beside(arm) for arm in arms)
         else "Dotted: training part. Solid: test part. A colour for each run."),
        ("Figure 8: loss by epoch", LOSS,
         "Dotted: training part, with dropout at work. Solid: test part. A colour for each run."),
        ("Figure 9: confusion matrices", CONFUSION,
         "Rows: as labelled. Columns: as called. Of the paper's matrix Table 2 fixes the diagonal "
         "and the margins; one number stays free, and with it the ranges shown."),
    )  # fmt: skip
    for title, name, caption in drawn:
        described = ", ".join(arm.title for arm in arms)
        yield f"### {title}"
        yield ""
        yield f"![{title} on {results.name}: {described}](<{results.folder.name}/{name}>)"
        yield ""
        yield caption
        yield ""


def _leakage(results: Results, arms: Sequence[Arm]) -> Iterator[str]:
    yield "### What each split leaks"
    yield ""
    listed = [(arm, run) for arm in arms for run in arm.finished]
    seen = [arm.examined(run) for arm, run in listed]
    by_patient = any(run["split"].get("same_patient") is not None for _, run in listed)
    by_itself = results.data.get("radiographs_from") != "audit"
    rows = []
    for (_, run), found in zip(listed, seen):
        split = run["split"]
        row = [run["name"], f"{split['training_files']:,}", f"{split['test_files']:,}"]
        row.append(_share(split, "identical"))
        if any(seen):
            row += [_audit_share(found, "near"), _audit_share(found, "any")]
        row.append(_share(split, "same_radiograph"))
        rows.append(row + ([_share(split, "same_patient")] if by_patient else []))
    head = ["run", "training files", "test files", "byte-identical"]
    if any(seen):
        head += [
            "near-identical or closer, as the audit sees it",
            "any picture of the radiograph, as the audit sees it",
        ]
    head.append(
        "same radiograph, as the data set says"
        if by_itself
        else "same radiograph, as the run took it"
    )
    yield (
        "Test images that have a copy in the training part, by strength. Each column of the "
        "audit counts the closer copies too."
        if any(seen)
        else "Test images that have a copy in the training part, by strength."
    )
    yield ""
    yield from documents.table(head + (["same patient"] if by_patient else []), rows)
    yield from _beside_look_up(arms)


def _audit_share(found: SplitExamined | None, strength: str) -> str:
    if found is None:
        return "not known"
    count, tested = getattr(found.leakage, strength), found.leakage.test_files
    return f"{count:,} ({wording.percent(count / tested if tested else None)})"


def _beside_look_up(arms: Sequence[Arm]) -> Iterator[str]:
    rows = [
        (one.run["name"], _cell(one.network), _cell(one.look_up),
         words.points(one.ahead) if one.ahead else "not measured",
         wording.split_badge(one.run["split"])[0])
        for arm in arms
        for one in look_up.beside(arm)
    ]  # fmt: skip
    if not rows:
        return
    yield (
        "The look-up learns nothing: it gives each test image the class of the training picture "
        "most like it. Both are asked about the test images of the same run, and the difference "
        "is taken image by image: its interval, not the overlap of the two others, says whether "
        "the network is ahead."
    )
    yield ""
    head = (
        "run", "network, accuracy in %", "look-up of the nearest picture, %",
        "network less look-up", "split",
    )  # fmt: skip
    yield from documents.table(head, rows)


def _share(split: dict[str, Any], name: str) -> str:
    if split.get(name) is None:
        return "not known"
    return f"{split[name]:,} ({wording.percent(split[f'{name}_share'])})"


def _settings(results: Results) -> Iterator[str]:
    entry = (results.finished or results.record["runs"])[0]
    config = entry["config"]
    network = networks.get(config["network"])
    options = {**network.options, **config["options"]}
    augmentation = config["augmentation"]
    altered = (
        ", ".join(
            f"{k} {v:g}" if not isinstance(v, bool) else k for k, v in augmentation.items() if v
        )
        if augmentation
        else "none"
    )
    optimiser = {
        "adam": "Adam",
        "adamw": "AdamW",
        "rmsprop": "RMSprop",
        "sgd": f"SGD, momentum {config['momentum']:g}",
    }
    warm = (
        f", after {config['warmup_epochs']:g} epochs of warm-up" if config["warmup_epochs"] else ""
    )
    falls = {
        "cosine": "falls to zero as a cosine",
        "constant": "stays",
        "steps": "a tenth of it after half of the epochs, a hundredth after three quarters",
    }[config["schedule"]]
    rows = [
        ("epochs", str(published.EPOCHS), str(config["epochs"])),
        ("test part", f"{100 * published.TEST_SHARE:.0f} %", _test_share(results)),
        ("loss", "categorical cross-entropy", "categorical cross-entropy"),
        ("optimiser", "not stated", optimiser[config["optimizer"]]),
        ("learning rate", "not stated", f"{config['learning_rate']:g}, {falls}{warm}"),
        ("batch", "not stated", str(config["batch_size"])),
        *(
            (name.replace("_", " "), "not stated", f"{value:g}")
            for name, value in options.items()
            if isinstance(value, (int, float))
        ),
        ("augmentation", "yes, which is not stated", altered),
        (
            "precision",
            "not stated",
            ", ".join(sorted({str(r["precision"]) for r in results.finished})),
        ),
        (
            "computed with",
            "not stated",
            ", ".join(sorted({wording.computed_with(r["versions"]) for r in results.finished})),
        ),
        ("minutes a run, by its middle epoch", "not stated", _minutes(results)),
    ]
    yield "### Settings"
    yield ""
    yield from documents.table(("setting", "paper", "ours"), [row for row in rows if row[2]])
    if settings.are_the_papers(config):
        yield settings.HOW_FOUND
        yield ""


def _test_share(results: Results) -> str:
    config = results.record["runs"][0]["config"]
    shares = [f"{100 * config['test_share']:.0f} %"]
    shares += [f"one of {arm.folds} folds" for arm in results.arms if arm.folds]
    return ", or ".join(shares)


def _minutes(results: Results) -> str:
    minutes = [run["minutes"] for run in results.finished]
    if not minutes:
        return ""
    low, high = (f"{v:.0f}" for v in (min(minutes), max(minutes)))
    return low if low == high else f"{low} to {high}"
