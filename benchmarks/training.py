"""How many images a second are trained on: KOP, a plain notebook, and the bare step.

    python benchmarks/training.py [--data FOLDER] [--steps N] [--rounds N] [--batch N] [--json]

Three ways train the paper's network on the same real radiographs:

- ``notebook``: as a tutorial has it: ``image_dataset_from_directory``, float32, Keras's
  random layers as strong as KOP's augmentation, mapped and prefetched, ``model.fit``.
- ``KOP``: :func:`kop_core.training.train` at its own settings, timed by what it reports.
- ``ceiling``: KOP's network, precision and optimiser in ``train_on_batch``, over and over on
  one batch held in memory.

Each runs in a process of its own, so that peak memory is its own. They take turns of a few
steps, and the two whose turn it is not are stopped, threads and all, so that no queue fills
meanwhile. Ratios are taken within a round of turns. Waiting for input counts; compiling and
what lies between two epochs do not. What others took of the cores is measured too: nothing is
judged if it was uneven.
"""

from __future__ import annotations

import argparse
import contextlib
import json
import os
import platform
import re
import signal
import statistics
import subprocess
import sys
import tempfile
import time
from pathlib import Path
from typing import TYPE_CHECKING, Any, TextIO

ROOT = Path(__file__).resolve().parent.parent
sys.path.insert(0, str(ROOT))

from kop_core import backend  # noqa: E402

if TYPE_CHECKING:
    from kop_core.training import Progress

backend.settle()

DATA = ROOT.parent / "shared" / "data" / "paper1947"
# At least; the first is asked only of a processor with bfloat16 instructions.
TO_REACH = {"KOP / notebook": 2.5, "KOP / ceiling": 0.9}
# Steps that compile and fill the queue of batches.
WARM_UP = 3
# Cores that others may take more of in the turns of one way than of another, as a share.
UNEVEN = 0.05
# Epochs to ask for where it is ended from outside.
NO_END = 100_000


def main() -> int:
    """Measure, print, and return 1 if a ratio that is to be reached is not."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--data", type=Path, default=DATA, help="folder of class folders")
    parser.add_argument("--steps", type=_number, default=4, help="timed in each turn")
    parser.add_argument("--rounds", type=_number, default=10)
    parser.add_argument("--batch", type=_number, default=16)
    parser.add_argument("--json", action="store_true")
    parser.add_argument("--one", choices=CONTENDERS, help=argparse.SUPPRESS)
    options = parser.parse_args()
    # Without it every process would first look for copies among the files, for minutes.
    if not (options.data / "radiographs.csv").is_file():
        parser.error(f"there is no radiographs.csv in {options.data}: name the data with --data")
    if options.one:
        return _one(options)
    found = machine() | measure(options)
    print(json.dumps(found, indent=2) if options.json else as_text(found))
    asked = [row for row in found["ratios"].values() if row["asked"]]
    return 0 if all(row["reached"] for row in asked) else 1


def _number(text: str) -> int:
    if not (text.isdigit() and int(text)):
        raise argparse.ArgumentTypeError(f"{text!r} is not a number above 0")
    return int(text)


def machine() -> dict[str, Any]:
    """Return what the figures are measured on, and how busy it was before."""
    from kop_core.training import best_precision
    from kop_core.training.versions import versions

    model = None
    if Path("/proc/cpuinfo").is_file():
        model = re.search(r"model name\s*:\s*(.+)", Path("/proc/cpuinfo").read_text())
    return {
        "processor": model.group(1) if model else platform.processor() or platform.machine(),
        "cores": os.cpu_count(),
        "bfloat16": best_precision() == "mixed_bfloat16",
        "load before": round(os.getloadavg()[0], 1),
        "versions": versions(),
    }


def measure(options: argparse.Namespace) -> dict[str, Any]:
    """Let the ways take turns; return each one's figures, and the ratios."""
    from kop_core.training import best_precision

    names = list(CONTENDERS)
    turns: dict[str, list[dict[str, float]]] = {name: [] for name in names}
    with (
        tempfile.TemporaryDirectory(prefix="kop-benchmark-") as folder,
        contextlib.ExitStack() as s,
    ):
        ways = {name: s.enter_context(Way(name, options, Path(folder))) for name in names}
        for turn in range(options.rounds):
            for place in range(len(names)):
                name = names[(turn + place) % len(names)]
                turns[name].append(ways[name].turn())
            said = ", ".join(
                f"{n} {rows[-1]['images_per_second']:.2f}" for n, rows in turns.items()
            )
            print(f"round {turn + 1}/{options.rounds}, images/s: {said}", file=sys.stderr)
        peaks = {name: way.peak_mb for name, way in ways.items()}
    found = {
        name: {
            "precision": "float32" if name == "notebook" else best_precision(),
            **{
                key: statistics.median(r[key] for r in rows)
                for key in ("images_per_second", "cores")
            },
            "others": statistics.mean(row["others"] for row in rows),
            "of each round": [row["images_per_second"] for row in rows],
            "others of each round": [row["others"] for row in rows],
            "peak_mb": peaks[name],
        }
        for name, rows in turns.items()
    }
    return {
        "data": options.data.name,
        **{key: getattr(options, key) for key in ("batch", "steps", "rounds")},
        "ways": found,
        "ratios": {name: ratio(name, turns) for name in TO_REACH},
    }


def ratio(name: str, turns: dict[str, list[dict[str, float]]]) -> dict[str, Any]:
    """Return the ratios of the rounds, what is to be reached, and whether it was.

    ``reached`` is ``None`` if it is not asked of this processor, or cannot be told because
    others took more of the cores from one of the two.
    """
    from kop_core.training import best_precision

    over, under = (turns[way] for way in name.split(" / "))
    of_rounds = [a["images_per_second"] / b["images_per_second"] for a, b in zip(over, under)]
    value = statistics.median(of_rounds)
    asked = name == "KOP / ceiling" or best_precision() == "mixed_bfloat16"
    taken = [statistics.mean(row["others"] for row in rows) for rows in (over, under)]
    uneven = abs(taken[0] - taken[1]) > UNEVEN * (os.cpu_count() or 1)
    reached = value >= TO_REACH[name] if asked and not uneven else None
    return {"value": value, "of each round": of_rounds, "at least": TO_REACH[name],
            "asked": asked, "uneven": uneven, "reached": reached}  # fmt: skip


class Way:
    """One way of training, in a process of its own that is stopped between its turns.

    Attributes:
        peak_mb: the most memory that it held.
    """

    def __init__(self, name: str, options: argparse.Namespace, folder: Path) -> None:
        self.peak_mb = 0.0
        self._name, self._steps, self._batch = name, options.steps, options.batch
        self._said = folder / f"{name}.txt"
        command = [sys.executable, __file__, "--one", name]
        command += ["--data", str(options.data), "--batch", str(options.batch)]
        own = folder / name
        own.mkdir()
        environment = {
            **os.environ,
            "KOP_CACHE": str(own),
            "TMPDIR": str(own),
            "TF_FORCE_GPU_ALLOW_GROWTH": "true",  # there are three of them
        }
        with self._said.open("w") as said:
            self._process = subprocess.Popen(
                command, stdout=subprocess.PIPE, stderr=said, text=True, env=environment
            )

    def __enter__(self) -> Way:
        try:
            for _ in range(WARM_UP):
                self._read()
        except BaseException:
            self.__exit__()
            raise
        self._process.send_signal(signal.SIGSTOP)
        return self

    def __exit__(self, *_: object) -> None:
        self._process.kill()
        self._process.wait()

    def turn(self) -> dict[str, float]:
        """Let it train some steps, and stop it again."""
        began = time.monotonic()
        self._process.send_signal(signal.SIGCONT)
        steps: list[dict[str, float]] = []
        while len(steps) < self._steps:
            step = self._read()
            if step["began"] > began:  # not the one that it was stopped in
                steps.append(step)
        self._process.send_signal(signal.SIGSTOP)
        total = {key: sum(step[key] for step in steps) for key in ("seconds", "own", "all")}
        return {
            "images_per_second": len(steps) * self._batch / total["seconds"],
            "cores": total["own"] / total["seconds"],
            "others": max(0.0, total["all"] - total["own"]) / total["seconds"],
        }

    def _read(self) -> dict[str, float]:
        line = self._process.stdout.readline()
        if not line:
            raise SystemExit(f"{self._name} ended:\n{self._said.read_text()[-3000:]}")
        step = json.loads(line)
        self.peak_mb = step["peak_mb"]
        return step


# In the process of one way.


def _one(options: argparse.Namespace) -> int:
    """Train one way in this process until it is ended."""
    from kop_core.commands.console import start_tensorflow

    _end_with_parent()
    told, sys.stdout = sys.stdout, sys.stderr  # Keras writes there
    start_tensorflow()
    CONTENDERS[options.one](options, Clock(told))
    return 0


def _end_with_parent() -> None:
    """Have the system end this process with its parent: one that is stopped would stay."""
    import ctypes

    with contextlib.suppress(OSError, AttributeError):
        ctypes.CDLL(None).prctl(1, signal.SIGKILL)  # PR_SET_PDEATHSIG, on Linux


class Clock:
    """Takes the time of steps, and writes a line of each."""

    def __init__(self, told: TextIO) -> None:
        self._told = told
        self.mark()

    def mark(self) -> None:
        """Begin a step here: what was before it is no part of it."""
        import psutil

        cpu = psutil.cpu_times()._asdict()
        kinds = ("user", "nice", "system", "irq", "softirq", "steal")
        everyone = sum(cpu.get(kind, 0.0) for kind in kinds)
        self._last = time.monotonic(), time.process_time(), everyone

    def step(self) -> None:
        """End a step, and begin the next."""
        import resource

        began, *before = self._last
        self.mark()
        ended, *after = self._last
        own, everyone = (a - b for a, b in zip(after, before))
        peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024
        line = {"began": began, "seconds": ended - began, "own": own, "all": everyone,
                "peak_mb": peak}  # fmt: skip
        print(json.dumps(line), file=self._told, flush=True)

    def step_of(self, done: int, total: int) -> None:
        """End a step of an epoch; the last one, which may be of fewer images, does not count."""
        if total == 1:
            raise SystemExit("The batch takes in the whole training part: choose a smaller one.")
        if done < total:
            self.step()
        else:
            self.mark()


def notebook(options: argparse.Namespace, clock: Clock) -> None:
    """Train as a tutorial of Keras does it, with what makes it fast on a processor."""
    import keras
    import tensorflow as tf
    from keras import layers

    from kop_core import networks
    from kop_core.training import TrainingConfig

    settings = TrainingConfig()
    strength, size = settings.augmentation, settings.preparation.shape[:2]
    train = keras.utils.image_dataset_from_directory(
        options.data,
        label_mode="categorical",
        validation_split=settings.test_share,
        subset="training",
        seed=0,
        image_size=size,
        batch_size=options.batch,
    )
    augment = keras.Sequential(
        [
            layers.Rescaling(1 / 127.5, offset=-1),
            layers.RandomFlip("horizontal"),
            layers.RandomRotation(strength.rotation / 360),
            layers.RandomTranslation(strength.shift, strength.shift),
            layers.RandomZoom(strength.zoom),
            layers.RandomContrast(strength.contrast, value_range=(-1, 1)),
            layers.RandomBrightness(strength.brightness, value_range=(-1, 1)),
        ]
    )
    train = train.map(
        lambda images, labels: (augment(images, training=True), labels),
        num_parallel_calls=tf.data.AUTOTUNE,
    ).prefetch(tf.data.AUTOTUNE)
    model = networks.build(settings.network, precision="float32", **settings.options)
    model.compile(
        keras.optimizers.SGD(settings.learning_rate, settings.momentum, nesterov=True),
        loss="categorical_crossentropy",
        metrics=["accuracy"],
    )

    class Timed(keras.callbacks.Callback):
        def on_train_batch_begin(self, batch: int, logs: dict | None = None) -> None:
            if batch == 0:  # by now the iterator of the epoch before is gone
                clock.mark()

        def on_train_batch_end(self, batch: int, logs: dict | None = None) -> None:
            clock.step_of(batch + 1, self.params["steps"])

    model.fit(train, epochs=NO_END, callbacks=[Timed()])


def kop(options: argparse.Namespace, clock: Clock) -> None:
    """Train as KOP does it."""
    from kop_core.training import TrainingConfig, train

    def report(progress: Progress) -> None:
        if progress.stage == "training":
            clock.step_of(progress.done, progress.total)
        else:
            clock.mark()

    with tempfile.TemporaryDirectory() as folder:
        config = TrainingConfig(batch_size=options.batch, epochs=NO_END)
        train(config, options.data, Path(folder) / "run", report)


def ceiling(options: argparse.Namespace, clock: Clock) -> None:
    """Train on one batch that is there, with nothing around the compiled step."""
    import tensorflow as tf

    from kop_core import networks
    from kop_core.datasets import feeding, scan
    from kop_core.training import TrainingConfig, best_precision
    from kop_core.training.transfer import make_optimizer

    settings = TrainingConfig()
    data = scan(options.data)
    some = data.items[:: max(1, len(data.items) // options.batch)][: options.batch]
    pixels = feeding.load(data, some, settings.preparation)
    batches = feeding.Epoch(pixels, options.batch, settings.augmentation, seed=0, epoch=0)
    inputs, targets = (tf.constant(array) for array in batches.batch(0))
    model = networks.build(settings.network, precision=best_precision(), **settings.options)
    optimizer = make_optimizer(settings, model)
    model.compile(optimizer, loss="categorical_crossentropy", metrics=["accuracy"])
    clock.mark()
    while True:
        model.train_on_batch(inputs, targets)
        clock.step()


CONTENDERS = {"notebook": notebook, "KOP": kop, "ceiling": ceiling}


def as_text(found: dict[str, Any]) -> str:
    """Return the figures as tables for people."""
    has = "with" if found["bfloat16"] else "without"
    lines = [
        f"{found['processor']}, {found['cores']} cores, {has} bfloat16 instructions; "
        f"load before: {found['load before']}",
        ", ".join(f"{name} {version}" for name, version in found["versions"].items()),
        f"{found['data']}: {found['steps']} steps of {found['batch']} images a turn, medians of "
        f"{found['rounds']} rounds (least to most)",
        "",
        f"{'':<16}{'images/s':>9}{'':>18}{'cores':>7}{'others':>8}{'peak MB':>9}  precision",
    ]
    for name, row in found["ways"].items():
        lines.append(
            f"{name:<16}{row['images_per_second']:>9.2f}{_span(row):>18}"
            f"{row['cores']:>7.2f}{row['others']:>8.2f}{row['peak_mb']:>9,.0f}  {row['precision']}"
        )
    lines.append("")
    for name, row in found["ratios"].items():
        lines.append(
            f"{name:<16}{row['value']:>9.3f}{_span(row):>18}"
            f"  at least {row['at least']:g}: {_verdict(row)}"
        )
    return "\n".join(lines)


def _verdict(row: dict[str, Any]) -> str:
    if not row["asked"]:
        return "not asked without bfloat16"
    if row["uneven"]:
        return "NOT JUDGED: others took the cores unevenly, measure again"
    return "reached" if row["reached"] else "NOT REACHED"


def _span(row: dict[str, Any]) -> str:
    """Return between what a figure lay in the rounds."""
    return f"({min(row['of each round']):.2f} to {max(row['of each round']):.2f})"


if __name__ == "__main__":
    sys.exit(main())
