"""Runs in words: what the training page says of one, as pure functions of it.

A run's folder may have been altered by hand, so nothing that is read from it is taken for
granted: what is not as it should be is left out of a sentence.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Sequence
from datetime import datetime
from typing import TYPE_CHECKING, Any

from kop_core import networks, wording
from kop_core.errors import UnknownNetwork
from kop_core.figures import training as figures
from kop_core.figures.training import number

if TYPE_CHECKING:
    from kop_core.training.runs import Run

# State: its word, its icon, the colour of its badge.
STATES = {
    "running": ("Running", ":material/play_circle:", "green"),
    "queued": ("Queued", ":material/schedule:", "blue"),
    "interrupted": ("Interrupted", ":material/warning:", "orange"),
    "failed": ("Failed", ":material/error:", "red"),
    "stopped": ("Stopped", ":material/stop_circle:", "gray"),
    "finished": ("Finished", ":material/check_circle:", "gray"),
}
ALIVE = ("running", "queued")
# Notes of TensorFlow's native code, which no setting keeps from a log.
_NATIVE = re.compile(r"WARNING: All log messages before absl|[IW]\d{4} \d\d:\d\d:\d{4,}")
_OPTIMIZERS = {"sgd": "SGD", "adam": "Adam", "adamw": "AdamW", "rmsprop": "RMSprop"}
_STAGES = {
    "starting": "Starting",
    "scanning": "Listing the pictures",
    "reading": "Reading the pictures",
    "preparing": "Preparing the pictures",
    "compiling": "Preparing the network",
    "features": "Computing what the frozen part says of each picture",
    "training": "Step",
    "validating": "Looking at the {part}",
    "epoch": "An epoch has ended",
    "measuring": "Measuring on the test part",
}


def state(run: Run) -> tuple[str, str, str]:
    """Return the word, the icon and the colour of a run's state."""
    return STATES.get(run.state, STATES["failed"])


def title(run: Run) -> str:
    """Return what a run is called."""
    return run.title or run.id


def watched(run: Run) -> str:
    """Return what is looked at after every epoch, as the charts call it."""
    return figures.watched_part(getattr(run.config, "validation_share", 0.0) or 0.0)


def watched_part(run: Run) -> str:
    """Return what is looked at after every epoch, in a sentence."""
    return "validation part" if watched(run) == figures.VALIDATION else "test part"


def kept_epoch(run: Run) -> int | None:
    """Return the epoch whose weights are kept, if one is chosen by the validation part.

    That is the one of the lowest loss, which need not be the one of the highest accuracy.
    """
    return run.kept_epoch if getattr(run.config, "keep", "last") == "best" else None


def best(run: Run) -> str:
    """Return the best accuracy so far, what it was measured on and when: ``75 % on …``."""
    found = run.best or {}
    value, epoch = number(found.get("accuracy")), found.get("epoch")
    if value is None or epoch is None:
        return ""
    return f"{wording.percent(value)} on the {watched_part(run)}, epoch {epoch}"


def short_best(run: Run) -> str:
    """Return the best accuracy so far for a table of runs: ``75 % validation, epoch 4``."""
    return best(run).replace(" on the ", " ").replace(" part, epoch ", ", epoch ")


def epochs(run: Run) -> str:
    """Return how many epochs are done: ``12 of 30``."""
    return f"{run.epoch} of {run.epochs}" if run.epochs else ""


def part(kept: dict[str, Any] | None, name: str) -> dict[str, Any]:
    """Return a part of a record, or nothing if it is not one."""
    found = (kept or {}).get(name)
    return found if isinstance(found, dict) else {}


def split(run: Run) -> dict[str, Any]:
    """Return the facts of a run's split: measured ones once it has begun, else as asked."""
    found = part(run.record, "split")
    if isinstance(found.get("protocol"), str):
        return {k: v for k, v in found.items() if _is_fact(k, v)}
    if run.config is None:
        return {}
    wanted = {name: getattr(run.config, name) for name in ("folds", "fold", "conflicts")}
    return {"protocol": run.config.split, **wanted}


def _is_fact(name: str, value: Any) -> bool:
    """Return whether a split's fact is of the kind that KOP wrote."""
    if name in ("protocol", "conflicts"):
        return isinstance(value, str)
    return number(value) is not None


def short_split(facts: dict[str, Any]) -> str:
    """Return what a split's badge says, short enough for a table of runs."""
    if not facts:
        return ""
    said = wording.split_badge(facts)[0]
    return re.sub(r" of test images have (?:byte-identical )?copies in training", " copied", said)


def data(run: Run) -> str:
    """Return the name of the data that a run is trained on."""
    name = part(run.record, "data").get("name")
    if isinstance(name, str) and name:
        return name
    return run.data_folder.name if run.data_folder else ""


def when(moment: datetime | None, this_year: bool = True) -> str:
    """Return a moment in the time of the machine that runs KOP: ``23 Nov 2026, 21:40``.

    Args:
        moment: the moment, if it is known.
        this_year: name the year also if it is this one.
    """
    if moment is None:
        return ""
    try:
        local = moment.astimezone()
    except (OverflowError, ValueError, OSError):  # no clock of this machine ever showed it
        return ""
    plain = local.year == datetime.now().year and not this_year
    return f"{local.day} {local:{'%b, %H:%M' if plain else '%b %Y, %H:%M'}}"


def network(run: Run) -> str:
    """Return a run's network in a sentence."""
    if run.config is None:
        return ""
    try:
        return networks.get(run.config.network).title
    except UnknownNetwork:
        return run.config.network


def what(run: Run) -> str:
    """Return what a run trains on what, and how, in one or two sentences."""
    if run.config is None:
        return "What this run was set to cannot be read."
    config, split_facts = run.config, part(run.record, "split")
    said = network(run)
    if name := data(run):
        said += f" on {name}"
    training, test = split_facts.get("training_files"), split_facts.get("test_files")
    if isinstance(training, int) and isinstance(test, int):
        said += f": {training:,} pictures to train on, {test:,} to test on"
    optimizer = _OPTIMIZERS.get(config.optimizer, config.optimizer)
    epochs_of = "1 epoch" if config.epochs == 1 else f"{config.epochs} epochs"
    return (
        f"{said}. {epochs_of}, batches of {config.batch_size}, {optimizer} at a learning rate of "
        f"{config.learning_rate:g}, seed {config.seed}."
    )


def progress_of_run(run: Run) -> tuple[float, str]:
    """Return how much of all epochs is done, between 0 and 1, and in words."""
    kept = run.progress or {}
    total = max(run.epochs, 1)
    if kept.get("stage") == "measuring":
        done = "All epochs are done" if run.epoch >= run.epochs else "No more epochs are trained"
        return 1.0, f"{done}: {run.epoch} of {run.epochs}"
    at = kept.get("epoch")
    at = at if isinstance(at, int) and 0 < at <= total else min(run.epoch + 1, total)
    inside = _share(kept) if kept.get("stage") == "training" else 0.0
    done = run.epoch / total if run.epoch >= at else (at - 1 + inside) / total
    left = number(kept.get("seconds_left"))
    said = f"Epoch {at} of {run.epochs}"
    return min(max(done, 0.0), 1.0), said + (f": {time_left(left)}" if left is not None else "")


def progress_of_epoch(run: Run) -> tuple[float, str]:
    """Return how much of the stage at work is done, between 0 and 1, and in words."""
    kept = run.progress or {}
    stage = str(kept.get("stage") or "starting")
    said = _STAGES.get(stage, stage.capitalize()).replace("{part}", watched_part(run))
    done, total = kept.get("step"), kept.get("steps")
    if isinstance(done, int) and isinstance(total, int) and total > 0 and stage != "epoch":
        said += f" {done:,} of {total:,}" if stage == "training" else f": {done:,} of {total:,}"
    figures_now = part(kept, "figures")
    loss, right = (number(figures_now.get(k)) for k in ("loss", "accuracy"))
    if stage == "training" and loss is not None:
        said += f", loss {loss:.3f}"
        said += f", accuracy {wording.percent(right)} in this epoch" if right is not None else ""
    return (1.0 if stage == "epoch" else _share(kept)), said


def _share(kept: dict[str, Any]) -> float:
    done, total = number(kept.get("step")), number(kept.get("steps"))
    return min(max(done / total, 0.0), 1.0) if done is not None and total else 0.0


def time_left(seconds: float) -> str:
    """Return how long something will take, no finer than it is known."""
    return "less than a minute left" if seconds < 60 else f"about {wording.duration(seconds)} left"


def costs(run: Run) -> list[tuple[str, str]]:
    """Return what a run costs the machine now, as pairs of words."""
    kept = run.progress or {}
    speed, memory = number(kept.get("images_per_second")), number(kept.get("memory_bytes"))
    pairs = [
        ("Speed", f"{speed:,.0f} images a second" if speed and speed >= 10 else
                  f"{speed:.1f} images a second" if speed else ""),
        ("Memory", size(memory) if memory else ""),
        ("Best so far", best(run)),
    ]  # fmt: skip
    return [(k, v) for k, v in pairs if v]


def size(count: float) -> str:
    """Return a number of bytes in words: ``3.1 GB``, ``213 MB``."""
    return f"{count / 1e9:.1f} GB" if count >= 999.5e6 else f"{max(count / 1e6, 0.1):.3g} MB"


def queue(run: Run, others: Iterable[Run], at_once: int) -> str:
    """Return a queued run's place, and roughly how long it will wait.

    Args:
        run: the one that waits.
        others: all runs.
        at_once: how many may train at once.
    """
    others = [other for other in others if other.id != run.id]
    running = [other for other in others if other.state == "running"]
    waiting = [other for other in others if other.state == "queued"]
    before = [other for other in waiting if _queued_at(other) < _queued_at(run)]
    if not before and len(running) < at_once:
        return "It is the next to start, in a moment."
    place = "It is the next to start" if not before else f"{_runs(len(before))} wait before it"
    place = place.replace("1 run wait ", "1 run waits ")
    said = f"{place}: {_runs(at_once)} may train at once, and {_runs(len(running))} "
    said += "is training." if len(running) == 1 else "are training."
    left = sorted(v for r in running if (v := number((r.progress or {}).get("seconds_left"))))
    if len(left) == len(running) and left and not before:
        said += f" The first of them should end in about {wording.duration(left[0])}."
        said = said.replace("The first of them", "That one") if len(left) == 1 else said
    elif left and before:
        said += (
            f" It will wait longer than {wording.duration(left[0])}: how long the runs before it "
            "take is known only once they train."
        )
    return said


def _runs(count: int) -> str:
    return "1 run" if count == 1 else f"{count} runs"


def _queued_at(run: Run) -> tuple[str, str]:
    created = run.created.isoformat() if run.created else ""
    return (str((run.progress or {}).get("queued_at") or created), run.id)


def ended(run: Run) -> str:
    """Return what became of a run that is neither queued nor running, and what can be done."""
    if run.state == "interrupted" and run.epoch and not run.damaged:
        return (
            f"{run.message or ''} {_epochs_kept(run)} The result will be the same as if it had "
            "not been interrupted."
        ).strip()
    if run.message:
        return run.message
    if run.state == "failed":
        return "The run failed, and did not say why. See the end of its log."
    if run.state == "stopped":
        return f"The run was stopped. {_epochs_kept(run)} Resume goes on from there."
    return ""


def _epochs_kept(run: Run) -> str:
    are = "is" if run.epoch == 1 else "are"
    return f"{run.epoch} of {run.epochs} epochs {are} kept."


def kept_when_stopped(run: Run) -> str:
    """Return what a person has left who stops a run now."""
    if not run.epoch:
        return "No whole epoch is done yet: nothing that was learned would be kept."
    epoch = kept_epoch(run)
    if epoch:
        which = (
            f"those of epoch {epoch}, whose loss on the {watched_part(run)} is the lowest so far"
        )
    else:
        which = f"those of epoch {run.epoch}, the last whole one"
    return (
        f"The weights that are kept are {which}. A model is made of them and measured on the test "
        "part. The epoch at work is lost. You can go on later with Resume."
    )


def tail(text: str, lines: int = 60) -> str:
    """Return the end of a log, without what only a terminal or TensorFlow's makers understand."""
    lines_of = text.replace("\r\n", "\n").split("\n")
    lines_of = [line for line in lines_of if not _NATIVE.match(line)]
    plain = (line.replace("\x1b[K", "").rsplit("\r", 1)[-1] for line in lines_of)
    printable = ("".join(c for c in line if c.isprintable() or c == "\t") for line in plain)
    return "\n".join([line for line in printable if line.strip()][-lines:])


def in_order(found: Sequence[Run]) -> list[Run]:
    """Return runs as a list shows them: running ones first, then queued, then the newest."""
    ranks = {"running": 0, "queued": 1}
    rest = [run for run in found if run.state not in ranks]
    alive = [run for run in found if run.state in ranks]
    return sorted(alive, key=lambda r: (ranks[r.state], _queued_at(r))) + rest
