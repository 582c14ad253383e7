"""How long a run will take on this machine, from a few steps that were really trained.

The steps are trained by the trainer itself, on generated pictures, in a process of its
own: whatever it does in a run, it does here, and what asks for the estimate imports no
TensorFlow. What was measured is kept, because it holds for every data set and any number
of epochs.
"""

from __future__ import annotations

import contextlib
import hashlib
import itertools
import json
import math
import os
import platform
import random
import subprocess
import sys
import tempfile
import threading
import time
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, fields, replace
from importlib import metadata
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
from PIL import Image

import kop_core
from kop_core import child_process, wording
from kop_core.classes import CLASS_NAMES
from kop_core.datasets.feeding import MEMORY_LIMIT
from kop_core.errors import RadiographError, RunError
from kop_core.training.config import BACKBONE, TrainingConfig
from kop_core.training.precision import best_precision

if TYPE_CHECKING:
    from kop_core.datasets import DataSet
    from kop_core.training import Progress

# To be raised when the same settings could be measured differently.
VERSION = 2
_STEPS = 4
_PICTURES = 2_000
# After so many seconds of steps enough is known of them.
_ENOUGH = 25.0
_TIMEOUT = 300.0
_KEPT = 200
# Forward and backward pass against forward pass alone, in operations.
_PASSES = 3.0
# Options of networks that alter what is learned and not how long it takes.
_FREE = frozenset({"dropout", "stochastic_depth", "batch_norm_momentum"})


@dataclass(frozen=True)
class DataFacts:
    """What of a data set decides how long a run on it takes.

    Attributes:
        training: files to learn from.
        validation: files that are set aside to be looked at after every epoch; 0 for none.
        test: files that are measured on at the end.
        reading_seconds: how long it takes to read and prepare one of them.
    """

    training: int
    validation: int
    test: int
    reading_seconds: float = 0.0

    @property
    def watched(self) -> int:
        """Files that are looked at after every epoch."""
        return self.validation or self.test

    @property
    def files(self) -> int:
        """All files that are read."""
        return self.training + self.validation + self.test

    def held(self, picture: int) -> int:
        """Return how many pictures of so many bytes are held in memory, not in a file."""
        parts = (self.training, self.validation, self.test)
        return sum(files for files in parts if files * picture <= MEMORY_LIMIT)


@dataclass(frozen=True)
class Measurement:
    """What was measured of a setting on this machine.

    Attributes:
        step_seconds: of one training step.
        evaluation_seconds: of classifying one picture.
        epoch_seconds: of what an epoch needs besides, such as writing the checkpoint.
        start_seconds: until the first step is done: libraries, network, compilation.
        memory_bytes: most memory that the process held.
        pictures: prepared pictures that it held in it.
        parameters: numbers that the network has.
        busy: whether something else was training meanwhile.
        feature_seconds: of what a frozen backbone computes of a picture once; 0 without one.
    """

    step_seconds: float
    evaluation_seconds: float
    epoch_seconds: float
    start_seconds: float
    memory_bytes: int
    pictures: int
    parameters: int
    busy: bool = False
    feature_seconds: float = 0.0

    def get_config(self) -> dict[str, Any]:
        """Return it as plain values for JSON."""
        return asdict(self)

    @classmethod
    def from_config(cls, config: Mapping[str, Any]) -> Measurement:
        """Return what :meth:`get_config` gave.

        Raises:
            RunError: if it is not that.
        """
        try:
            found = cls(**{f.name: config[f.name] for f in fields(cls)})
            sound = all(
                isinstance(v, (int, float)) and math.isfinite(v) and v >= 0
                for v in asdict(found).values()
            )
        except (KeyError, TypeError, OverflowError) as error:
            raise RunError(f"This is no measurement of a training step ({error!r}).") from error
        if not sound or not found.step_seconds > 0:
            raise RunError("This is no measurement of a training step.")
        return found


@dataclass(frozen=True)
class Estimate:
    """How long a run will take, and what it needs.

    Attributes:
        seconds: from the start to the finished model.
        epochs: of the run.
        steps: of an epoch.
        step_seconds: of a step.
        memory_bytes: most memory that it will hold.
        parameters: numbers that the network has.
        stops_early: whether it may end before the last epoch.
        busy: whether it was measured while something else was training.
    """

    seconds: float
    epochs: int
    steps: int
    step_seconds: float
    memory_bytes: int
    parameters: int
    stops_early: bool
    busy: bool

    def get_config(self) -> dict[str, Any]:
        """Return it as plain values for JSON."""
        return asdict(self)

    def sentence(self) -> str:
        """Return it in words."""
        epochs = "1 epoch" if self.epochs == 1 else f"{self.epochs:,} epochs"
        steps = "1 step" if self.steps == 1 else f"{self.steps:,} steps"
        least = "At most about" if self.stops_early else "About"
        return (
            f"{least} {wording.duration(self.seconds)}: {epochs} of {steps} at "
            f"{_seconds(self.step_seconds)}, measured on this machine."
        )

    def memory(self, machine: int | None = None) -> str:
        """Return in words what memory it needs, beside what the machine has.

        Args:
            machine: bytes of memory of the machine, as far as that is known.
        """
        needs = f"It needs about {_gigabytes(self.memory_bytes)} of memory"
        return f"{needs}; this machine has {_gigabytes(machine)}." if machine else f"{needs}."


def estimate(config: TrainingConfig, data: DataFacts, measured: Measurement) -> Estimate:
    """Return how long a run will take.

    Args:
        config: its settings.
        data: what it trains on.
        measured: what was measured of these settings, see :func:`measure`.
    """
    steps = math.ceil(data.training / config.batch_size)
    epoch = (
        steps * measured.step_seconds
        + data.watched * measured.evaluation_seconds
        + measured.epoch_seconds
    )
    shown = data.training + data.watched
    once, picture_seconds = shown * measured.feature_seconds, measured.evaluation_seconds
    if config.freeze == BACKBONE:
        picture_seconds += measured.feature_seconds
    elif config.head_epochs:
        # The head learns in no time from features, and these are computed once.
        once = shown * picture_seconds
    # The finished model and its copy in half precision are both measured on the test part.
    after = 2 * data.test * picture_seconds + measured.epoch_seconds
    seconds = measured.start_seconds + data.files * data.reading_seconds + once + after
    seconds += (config.epochs - config.head_epochs) * epoch
    picture = _picture_bytes(config)
    more = max(0, data.held(picture) - measured.pictures)
    return Estimate(
        seconds,
        config.epochs,
        steps,
        measured.step_seconds,
        measured.memory_bytes + more * picture,
        measured.parameters,
        config.patience is not None,
        measured.busy,
    )


def reading_seconds(data: DataSet, config: TrainingConfig, most: int = 6) -> float:
    """Return how long it takes to read and prepare one file, by trying some.

    Args:
        data: the data set.
        config: names the network and so the preparation.
        most: files that are tried.
    """
    from kop_core.radiographs import read
    from kop_core.radiographs.preparation import prepare_grey

    preparation = config.preparation
    some = random.Random(0).sample(list(data.items), min(most, len(data.items)))
    took = []
    for item in some:
        began = time.perf_counter()
        with contextlib.suppress(RadiographError):
            prepare_grey(read(data.path(item)), preparation)
        took.append(time.perf_counter() - began)
    return sum(took) / len(took) if took else 0.0


# Measuring in a process of its own.


def measure(
    config: TrainingConfig,
    stop: threading.Event | None = None,
    busy: bool = False,
    cache: bool = True,
    command: Sequence[str] | None = None,
    timeout: float = _TIMEOUT,
) -> Measurement:
    """Train a few steps in a process of its own; blocks for some tens of seconds.

    Args:
        config: the settings.
        stop: ends it when it is set.
        busy: whether something else is training: what is measured meanwhile is said to be
            so, and measured again when the machine is free.
        cache: use and keep what was measured before.
        command: what to run instead of ``python -m kop_core estimate``.
        timeout: seconds after which it is given up.

    Raises:
        RunError: if it could not be measured, with the reason; or it was stopped.
    """
    found = kept(config) if cache else None
    if found is not None and (busy or not found.busy):
        return found
    command = command or (sys.executable, "-m", "kop_core", "estimate", "--config", "-", "--json")
    with tempfile.TemporaryDirectory(prefix="kop-estimate-") as folder:
        output = _run(command, json.dumps(config.get_config()), folder, stop, timeout)
    try:
        said = json.loads(output)
        found = replace(Measurement.from_config(said["measured"]), busy=busy)
    except (ValueError, KeyError, TypeError) as error:
        raise RunError(
            "The time could not be measured: the process that measures gave no figures."
        ) from error
    if cache:
        _keep(config, found)
    return found


def _run(
    command: Sequence[str],
    given: str,
    folder: str,
    stop: threading.Event | None,
    timeout: float,
) -> str:
    """Run a process that measures, and return what it says."""
    # What it prepares of generated pictures is nobody's later; what it complains of is read.
    environment = child_process.environment(
        {"KOP_CACHE": folder, "TMPDIR": folder, "TF_CPP_MIN_LOG_LEVEL": "3"}
    )
    try:
        process = subprocess.Popen(
            command,
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            text=True,
            encoding="utf-8",
            errors="replace",
            env=environment,
        )
    except OSError as error:
        raise RunError(f"The time could not be measured: {error.strerror}.") from error
    ends, asked = time.monotonic() + timeout, given
    try:
        while True:
            try:
                output, complaints = process.communicate(asked, timeout=0.3)
                break
            except subprocess.TimeoutExpired:
                asked = None
                if stop and stop.is_set():
                    raise RunError("The measurement was stopped.") from None
                if time.monotonic() > ends:
                    raise RunError(
                        "The time could not be measured: a few steps took more than "
                        f"{wording.duration(timeout)}. A smaller batch or network is quicker."
                    ) from None
    finally:  # however this ends, nothing goes on measuring
        if process.poll() is None:
            process.kill()
            process.communicate()
    if process.returncode:
        raise RunError(f"The time could not be measured: {_reason(complaints, process.returncode)}")
    return output


def _reason(complaints: str, status: int) -> str:
    """Return why a process ended badly: its own sentence, or how it ended."""
    said = [line for line in complaints.splitlines() if line.startswith("kop_core: ")]
    if said:
        return said[-1].removeprefix("kop_core: ")
    if status < 0:
        return (
            "the process that measures was ended from outside, often because the memory was not "
            "enough. Choose a smaller batch."
        )
    return "the process that measures ended unexpectedly."


# Measuring in this process.


def measure_here(config: TrainingConfig) -> Measurement:
    """Train a few steps on generated pictures in this process.

    Raises:
        RunError: if the settings cannot be trained.
    """
    from kop_core.training import train

    steps = max(2, min(_STEPS, _PICTURES // config.batch_size))
    tested = max(2 * config.batch_size, 6)
    pictures = max(steps * config.batch_size, 6) + tested
    short = replace(
        config,
        epochs=2,
        # A rate that is too high must not end the measurement.
        learning_rate=1e-6,
        schedule="constant",
        warmup_epochs=0.0,
        split="radiograph",
        conflicts="keep",
        test_share=tested / pictures,
        validation_share=0.0,
        keep="last",
        patience=None,
        folds=None,
        fold=None,
        head_epochs=0,
    )
    with tempfile.TemporaryDirectory(prefix="kop-steps-", ignore_cleanup_errors=True) as folder:
        data = _generate(Path(folder) / "data", pictures)
        clock = _Clock()
        with contextlib.suppress(_Enough):
            train(short, data, Path(folder) / "run", clock)
    return clock.measurement(short, pictures)


def _generate(folder: Path, pictures: int) -> Path:
    """Write pictures of noise, and that each is a radiograph of its own."""
    rng = np.random.default_rng(0)
    rows = ["file,radiograph"]
    for name in CLASS_NAMES:
        (folder / name).mkdir(parents=True)
    for place in range(pictures):
        file = f"{CLASS_NAMES[place % len(CLASS_NAMES)]}/{place}.png"
        grey = rng.integers(0, 255, (96, 96), dtype=np.uint8)
        Image.fromarray(grey).save(folder / file, compress_level=0)
        rows.append(f"{file},R{place}")
    (folder / "radiographs.csv").write_text("\n".join(rows) + "\n", encoding="utf-8")
    return folder


class _Enough(Exception):
    """Enough steps were trained."""


class _Clock:
    """Takes the time of what a run reports.

    Attributes:
        events: stage, epoch, done of the stage, seconds since the start.
    """

    def __init__(self) -> None:
        self.events: list[tuple[str, int, int, float]] = []
        self._began = time.perf_counter()

    def __call__(self, progress: Progress) -> None:
        now = time.perf_counter() - self._began
        self.events.append((progress.stage, progress.epoch, progress.done, now))
        steps = self._of("training")
        long = len(steps) > 3 and now - steps[0][3] > _ENOUGH
        if long or (progress.stage == "epoch" and progress.epoch == 2):
            raise _Enough

    def measurement(self, config: TrainingConfig, pictures: int) -> Measurement:
        """Return what the times say."""
        training = self._of("training")
        if not training:
            raise RunError("The time could not be measured: no step was trained.")
        step = self._a_step()
        evaluation = self._a_picture() or step / config.batch_size / _PASSES
        ended = self._of("epoch")
        before = [e for e in self.events if ended and e[3] < ended[-1][3]]
        beside = ended[-1][3] - before[-1][3] if ended else 0.0
        return Measurement(
            step,
            evaluation,
            beside,
            training[0][3],
            _peak_memory(),
            pictures,
            _parameters(config),
            feature_seconds=self._a_feature(),
        )

    def _of(self, stage: str, epoch: int | None = None) -> list[tuple[str, int, int, float]]:
        return [e for e in self.events if e[0] == stage and epoch in (None, e[1])]

    def _a_step(self) -> float:
        """Return the seconds of a step, without those that compile."""
        second, first_epoch = self._of("training", 2), self._of("epoch", 1)
        if second and first_epoch:
            return max((second[-1][3] - first_epoch[0][3]) / second[-1][2], 1e-6)
        steps = self._of("training", 1)
        if len(steps) < 2:
            return steps[0][3]
        return max((steps[-1][3] - steps[0][3]) / (steps[-1][2] - steps[0][2]), 1e-6)

    def _a_picture(self) -> float | None:
        """Return the seconds of classifying a picture, if an epoch came to that."""
        for epoch in (2, 1):
            seen, steps = self._of("validating", epoch), self._of("training", epoch)
            if epoch == 2 and seen and steps:
                return (seen[-1][3] - steps[-1][3]) / seen[-1][2]
            if len(seen) > 1:
                return (seen[-1][3] - seen[0][3]) / (seen[-1][2] - seen[0][2])
        return None

    def _a_feature(self) -> float:
        """Return the seconds that a frozen backbone takes of a picture; 0 without one."""
        seen = self._of("features")
        for first, last in itertools.pairwise(seen):
            if last[2] > first[2]:  # not where the next part begins
                return (last[3] - first[3]) / (last[2] - first[2])
        return 0.0


def _parameters(config: TrainingConfig) -> int:
    from kop_core import networks

    built = networks.build(config.network, size=config.size, view=config.view, **config.options)
    return networks.counts(built)["parameters"]


def _peak_memory() -> int:
    """Return the most memory that this process held, in bytes; 0 if that is not known."""
    try:
        import resource
    except ImportError:  # Windows
        with contextlib.suppress(ImportError):
            import psutil

            return int(getattr(psutil.Process().memory_info(), "peak_wset", 0))
        return 0
    most = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    return most if sys.platform == "darwin" else most * 1024


def machine_memory() -> int | None:
    """Return the bytes of memory that this machine, or what it is confined to, has."""
    found = []
    with contextlib.suppress(ValueError, OSError, AttributeError):
        found.append(os.sysconf("SC_PHYS_PAGES") * os.sysconf("SC_PAGE_SIZE"))
    with contextlib.suppress(ValueError, OSError):
        found.append(int(Path("/sys/fs/cgroup/memory.max").read_text()))
    return min(found) if found else None


def _picture_bytes(config: TrainingConfig) -> int:
    """Return what one prepared picture takes in memory."""
    return config.preparation.height * config.preparation.width * 4


# What was measured before.


def folder() -> Path:
    """Return where measurements are kept."""
    from kop_core.datasets.audit import cache

    return cache.folder().parent / "estimates"


def kept(config: TrainingConfig) -> Measurement | None:
    """Return what was measured of these settings on this machine before, or ``None``."""
    try:
        return Measurement.from_config(json.loads(_path(config).read_text(encoding="utf-8")))
    except (OSError, ValueError, TypeError, RecursionError, RunError):
        return None


def _keep(config: TrainingConfig, found: Measurement) -> None:
    path = _path(config)
    with contextlib.suppress(OSError):  # a cache that cannot be written is no error
        path.parent.mkdir(parents=True, exist_ok=True, mode=0o700)
        draft = path.with_suffix(f".{os.getpid()}.part")
        draft.write_text(json.dumps(found.get_config()), encoding="utf-8")
        draft.replace(path)
        old = sorted(path.parent.glob("*.json"), key=lambda p: p.stat().st_mtime, reverse=True)
        for file in old[_KEPT:]:
            file.unlink(missing_ok=True)


def key(config: TrainingConfig) -> str:
    """Return what tells apart settings that take a different time on this machine."""
    decides = {
        "version": VERSION,
        "network": config.network,
        "options": {k: v for k, v in sorted(config.options.items()) if k not in _FREE},
        "size": config.size,
        "view": config.view,
        "batch_size": config.batch_size,
        "optimizer": config.optimizer,
        "momentum": config.momentum > 0,
        "augmented": config.augmentation is not None,
        "precision": best_precision() if config.precision == "auto" else config.precision,
        "replicas": config.replicas,
        "freeze": config.freeze,
        "machine": _machine(),
    }
    said = json.dumps(decides, sort_keys=True, default=str)
    return hashlib.sha256(said.encode()).hexdigest()[:32]


def _path(config: TrainingConfig) -> Path:
    return folder() / f"{key(config)}.json"


def _machine() -> dict[str, Any]:
    try:
        cores = len(os.sched_getaffinity(0))
    except AttributeError:  # not on every system
        cores = os.cpu_count() or 1
    return {
        "name": platform.node(),
        "processor": _processor(),
        "cores": cores,
        "gpus": sorted(
            p.read_text(errors="replace").split("\n")[0]
            for p in Path("/proc/driver/nvidia/gpus").glob("*/information")
        ),
        "visible": os.environ.get("CUDA_VISIBLE_DEVICES"),
        "backend": os.environ.get("KERAS_BACKEND", "tensorflow"),
        "versions": {p: _version(p) for p in ("tensorflow", "jax", "torch", "keras")},
        "kop": kop_core.__version__,
    }


def _processor(cpuinfo: Path = Path("/proc/cpuinfo")) -> str:
    with contextlib.suppress(OSError):
        for line in cpuinfo.read_text(errors="replace").splitlines():
            if line.startswith("model name"):
                return line.partition(":")[2].strip()
    return platform.processor()


def _version(package: str) -> str | None:
    try:
        return metadata.version(package)
    except metadata.PackageNotFoundError:
        return None


# Words.


def step_sentence(config: TrainingConfig, measured: Measurement) -> str:
    """Return in words what was measured of a step."""
    pictures = "1 picture" if config.batch_size == 1 else f"{config.batch_size:,} pictures"
    rate = config.batch_size / measured.step_seconds
    return (
        f"A step of {pictures} takes {_seconds(measured.step_seconds)} on this machine "
        f"({rate:,.1f} pictures a second)."
    )


def _seconds(seconds: float) -> str:
    if seconds >= 10:
        return f"{seconds:.0f} s"
    if seconds >= 0.95:
        return f"{seconds:.1f} s"
    return f"{max(1, round(1000 * seconds)):,} ms"


def _gigabytes(count: int) -> str:
    return f"{count / 2**30:.1f} GB" if count < 10 * 2**30 else f"{count / 2**30:.0f} GB"
