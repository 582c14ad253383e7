"""The page of the reproduction: Markdown and figures, from the collected results alone."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

from kop_core import networks, wording
from kop_core.classes import CLASSES
from kop_core.errors import RunError
from kop_core.evaluation import Estimate, published
from kop_core.reproduction import figures, meaning, runs
from kop_core.reproduction.results import Arm, Results, read_all

PAGE = "README.md"
ACCURACY, LOSS, CONFUSION = "accuracy.svg", "loss.svg", "confusion.svg"


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
            f"{meaning.with_interval(arm.evaluation.metrics['accuracy'])}, {_badge(arm)}"
            for arm in arms
        )
        yield f"- [{results.name}](#{_anchor(results.name)}): {figures_of or 'nothing yet'}. " + (
            _state(results)
        )
    yield ""


def _anchor(name: str) -> str:
    kept = "".join(c for c in name.lower() if c.isalnum() or c in " -_")
    return kept.replace(" ", "-")


def _state(results: Results) -> str:
    """Return how many runs are done, and what of the others."""
    entries = results.record["runs"]
    done = len(results.finished)
    if done == len(entries):
        return f"All {done} runs are done." if done > 1 else "The run is done."
    rest = []
    for entry in entries:
        if entry["state"] == runs.UNFINISHED:
            epochs = entry["config"]["epochs"]
            rest.append(f"{entry['name']} is at {entry['epochs_done']} of {epochs} epochs")
        elif entry["state"] == runs.MISSING:
            rest.append(f"{entry['name']} has not begun")
    return f"**{done} of {len(entries)} runs done**: {', '.join(rest)}."


def _table(head: Sequence[str], rows: Sequence[Sequence[str]]) -> Iterator[str]:
    yield "| " + " | ".join(head) + " |"
    yield "|" + "---|" * len(head)
    for row in rows:
        yield "| " + " | ".join(cell.replace("|", "\\|") for cell in row) + " |"
    yield ""


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
    yield from _table(("layer", "kernels", "output, paper", "output, ours"), rows)
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
    arms = [arm for arm in results.arms if arm.finished]
    if arms:
        yield "### What it means"
        yield ""
        yield from (f"- {sentence}" for sentence in meaning.sentences(results))
        yield ""
        yield from _table_2(arms)
        yield from _table_3(results, arms)
        yield from _drawn(results, arms)
        yield from _leakage(arms)
    yield from _settings(results)


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
    yield from _table(head, rows)


def _mean_and_range(arm: Arm) -> str:
    found = [100 * share for share in meaning.accuracies(arm)]
    mean = sum(found) / len(found)
    return f"{mean:.1f}, {min(found):.1f} to {max(found):.1f}" if len(found) > 1 else "one run"


def _column(arm: Arm) -> str:
    """Return the head of a column: the split, its badge, and what the figures rest on."""
    return f"{_badge(arm)}; {_runs(arm)}, {_rests_on(arm)}"


def _badge(arm: Arm) -> str:
    return f"{arm.badge}, {arm.folds} folds" if arm.folds else arm.badge


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
        rows.append(("KOP, all runs", f"{files:,}", title, accuracy, _badge(arm)))
        for run, evaluation in zip(arm.finished, arm.evaluations):
            badge = wording.split_badge(run["split"])[0]
            cell = _cell(evaluation.metrics["accuracy"])
            rows.append((f"KOP, {arm.run_title(run)}", f"{evaluation.images:,} tested", "", cell,
                         badge))  # fmt: skip
    yield from _table(("study", "images", "network", "accuracy, %", "split"), rows)


def _drawn(results: Results, arms: Sequence[Arm]) -> Iterator[str]:
    folder = results.folder
    figures.accuracy_by_epoch(arms, folder / ACCURACY)
    figures.loss_by_epoch(arms, folder / LOSS)
    figures.confusion_matrices(arms, folder / CONFUSION)
    drawn = (
        ("Figure 7: accuracy by epoch", ACCURACY,
         "Dotted: training part. Solid: test part. A colour for each run."),
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


def _leakage(arms: Sequence[Arm]) -> Iterator[str]:
    yield "### What each split leaks"
    yield ""
    yield "Test images that have a copy in the training part, by strength."
    yield ""
    rows = []
    for arm in arms:
        for run in arm.finished:
            split = run["split"]
            rows.append(
                (
                    run["name"],
                    f"{split['training_files']:,}",
                    f"{split['test_files']:,}",
                    _share(split, "identical"),
                    _share(split, "same_radiograph"),
                    _share(split, "same_patient"),
                )
            )
    head = ("run", "training files", "test files", "identical bytes", "same radiograph",
            "same patient")  # fmt: skip
    yield from _table(head, rows)


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
    optimiser = {"adam": "Adam", "sgd": f"SGD, momentum {config['momentum']:g}"}
    warm = (
        f", after {config['warmup_epochs']:g} epochs of warm-up" if config["warmup_epochs"] else ""
    )
    falls = {"cosine": "falls to zero as a cosine", "constant": "stays"}[config["schedule"]]
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
        ("minutes a run", "not stated", _minutes(results)),
    ]
    yield "### Settings"
    yield ""
    yield from _table(("setting", "paper", "ours"), [row for row in rows if row[2]])


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
