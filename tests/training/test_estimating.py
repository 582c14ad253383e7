"""How long a run takes: the arithmetic, the process that measures, and what is kept of it."""

from __future__ import annotations

import json
import math
import os
import signal
import subprocess
import sys
import tempfile
import threading
import time
from dataclasses import replace
from pathlib import Path

import pytest

from kop_core import cli
from kop_core.datasets import feeding, scan
from kop_core.datasets.feeding import Augmentation
from kop_core.errors import RunError
from kop_core.training import Progress, TrainingConfig, estimating, setting_up
from kop_core.training.estimating import DataFacts, Estimate, Measurement, estimate, measure

CONFIG = TrainingConfig(network="small", epochs=10, batch_size=8, options={}, precision="float32")
PICTURE = 224 * 224 * 4  # bytes
MEASURED = Measurement(
    step_seconds=2.0, evaluation_seconds=0.1, epoch_seconds=3.0, start_seconds=20.0,
    memory_bytes=10**9, pictures=60, parameters=1234,
)  # fmt: skip
AS_JSON = json.dumps({"measured": MEASURED.get_config()})


@pytest.fixture(autouse=True)
def folder(tmp_path, monkeypatch, small_network) -> Path:
    """Where measurements are kept in a test."""
    monkeypatch.setenv("KOP_CACHE", str(tmp_path / "cache"))
    return tmp_path / "cache" / "estimates"


# Arithmetic.


def test_the_time_is_the_sum_of_what_a_run_does():
    found = estimate(CONFIG, DataFacts(81, 0, 20, reading_seconds=0.5), MEASURED)
    assert found.steps == 11  # the last one has a single picture
    start, reading = 20.0, (81 + 20) * 0.5
    epoch = 11 * 2.0 + 20 * 0.1 + 3.0  # the test part is watched
    after = 2 * 20 * 0.1 + 3.0
    assert found.seconds == pytest.approx(start + reading + 10 * epoch + after)
    assert (found.epochs, found.step_seconds, found.parameters) == (10, 2.0, 1234)


def test_a_validation_part_is_watched_instead_and_read_besides():
    without = estimate(CONFIG, DataFacts(81, 0, 20, 0.5), MEASURED)
    for validation in (20, 30):  # as many files as the test part has, too
        data = DataFacts(81, validation, 20, 0.5)
        assert data.files == 101 + validation and data.watched == validation
        more = validation * 0.5 + 10 * (validation - 20) * 0.1
        assert estimate(CONFIG, data, MEASURED).seconds == pytest.approx(without.seconds + more)


def test_memory_grows_by_the_pictures_that_were_not_in_the_measurement():
    assert estimate(CONFIG, DataFacts(40, 0, 20), MEASURED).memory_bytes == 10**9
    found = estimate(CONFIG, DataFacts(80, 10, 20), MEASURED)
    assert found.memory_bytes == 10**9 + 50 * PICTURE


def test_a_part_that_goes_to_a_file_is_not_held_in_memory():
    most = feeding.MEMORY_LIMIT // PICTURE
    found = estimate(CONFIG, DataFacts(most, 0, 100), MEASURED)
    assert found.memory_bytes == 10**9 + (most + 40) * PICTURE
    found = estimate(CONFIG, DataFacts(most + 1, 0, 100), MEASURED)
    assert found.memory_bytes == 10**9 + 40 * PICTURE


def test_early_stopping_makes_it_an_upper_bound():
    early = replace(CONFIG, validation_share=0.2, patience=3)
    found = estimate(early, DataFacts(64, 16, 20), replace(MEASURED, busy=True))
    assert found.stops_early and found.busy
    assert found.sentence().startswith("At most about ")
    assert not estimate(CONFIG, DataFacts(64, 0, 20), MEASURED).stops_early


# Words.


@pytest.mark.parametrize(
    ("seconds", "epochs", "steps", "step", "said"),
    [
        (4080, 30, 1240, 0.1234, "About 1 h 08 min: 30 epochs of 1,240 steps at 123 ms"),
        (42.4, 1, 1, 12.3, "About 42 s: 1 epoch of 1 step at 12 s"),
        (600, 2, 3, 1.25, "About 10 min: 2 epochs of 3 steps at 1.2 s"),
        (1, 1, 2, 1e-6, "About 1 s: 1 epoch of 2 steps at 1 ms"),
    ],
)
def test_an_estimate_in_words(seconds, epochs, steps, step, said):
    found = Estimate(seconds, epochs, steps, step, 3 * 10**9, 1, False, False)
    assert found.sentence() == f"{said}, measured on this machine."


def test_memory_in_words():
    found = Estimate(1, 1, 1, 1, 3 * 2**30, 1, False, False)
    assert found.memory() == "It needs about 3.0 GB of memory."
    assert found.memory(24 * 2**30) == "It needs about 3.0 GB of memory; this machine has 24 GB."


def test_a_step_in_words():
    assert estimating.step_sentence(CONFIG, MEASURED) == (
        "A step of 8 pictures takes 2.0 s on this machine (4.0 pictures a second)."
    )
    one = estimating.step_sentence(
        replace(CONFIG, batch_size=1), replace(MEASURED, step_seconds=0.05)
    )
    assert one == "A step of 1 picture takes 50 ms on this machine (20.0 pictures a second)."


def test_this_machine_has_memory():
    assert 10**8 < estimating.machine_memory() < 10**14


# What was measured, as plain values.


def test_a_measurement_comes_back_from_plain_values():
    said = json.loads(json.dumps(MEASURED.get_config()))
    assert Measurement.from_config({**said, "more": 1}) == MEASURED


@pytest.mark.parametrize(
    "change",
    [{"step_seconds": 0}, {"step_seconds": -1}, {"step_seconds": None}, {"step_seconds": "1"},
     {"memory_bytes": math.nan}, {"epoch_seconds": math.inf}, {"start_seconds": -1},
     {"pictures": [1]}, {"parameters": 10**400}],
)  # fmt: skip
def test_what_is_no_measurement_is_named(change):
    with pytest.raises(RunError, match="no measurement"):
        Measurement.from_config({**MEASURED.get_config(), **change})
    lacking = {k: v for k, v in MEASURED.get_config().items() if k not in change}
    for config in (lacking, [], None, "text"):
        with pytest.raises(RunError, match="no measurement"):
            Measurement.from_config(config)


# What tells settings apart.

FULL = TrainingConfig(network="small", options={"dropout": 0.5})


@pytest.mark.parametrize(
    "change",
    [{"network": "paper"}, {"batch_size": 32}, {"size": 160}, {"optimizer": "adam"},
     {"momentum": 0.0}, {"augmentation": None}, {"replicas": 2}, {"precision": "mixed_bfloat16"}],
    ids=lambda c: "-".join(c),
)  # fmt: skip
def test_what_costs_time_is_measured_for_itself(change):
    base = replace(FULL, precision="float32")
    assert estimating.key(replace(base, **change)) != estimating.key(base)


def test_the_head_of_a_network_is_measured_for_itself():
    pooled = TrainingConfig(network="vgg16", options={"head": "pooled"})
    original = replace(pooled, options={"head": "original"})
    assert estimating.key(original) != estimating.key(pooled)


@pytest.mark.parametrize(
    "change",
    [{"seed": 7}, {"epochs": 3}, {"learning_rate": 0.1}, {"schedule": "constant"},
     {"split": "random"}, {"test_share": 0.4}, {"folds": 5, "fold": 1}, {"conflicts": "drop"},
     {"validation_share": 0.2, "keep": "best", "patience": 3}, {"warmup_epochs": 1.0},
     {"options": {"dropout": 0.1, "batch_norm_momentum": 0.5}}, {"options": {}}, {"momentum": 0.5},
     {"augmentation": Augmentation(mirror=False, rotation=1.0)}],
    ids=lambda c: "-".join(c),
)  # fmt: skip
def test_what_costs_no_time_is_not_measured_again(change):
    assert estimating.key(replace(FULL, **change)) == estimating.key(FULL)


def test_another_machine_or_version_measures_for_itself(monkeypatch):
    before = estimating.key(CONFIG)
    for name, value in (
        ("_processor", lambda: "another processor"),
        ("_version", lambda package: "99.0"),
        ("VERSION", 99),
    ):
        with monkeypatch.context() as patch:
            patch.setattr(estimating, name, value)
            assert estimating.key(CONFIG) != before, name
    monkeypatch.setenv("CUDA_VISIBLE_DEVICES", "7")
    assert estimating.key(CONFIG) != before


def test_the_best_precision_is_the_one_that_it_is_here():
    from kop_core.training.precision import best_precision

    auto, named = replace(FULL, precision="auto"), replace(FULL, precision=best_precision())
    assert estimating.key(auto) == estimating.key(named)


# The process that measures.


def python(code: str) -> tuple[str, ...]:
    return (sys.executable, "-c", code)


def saying(text: str = AS_JSON, log: Path | None = None) -> tuple[str, ...]:
    """A process that says something, and puts a line into a file."""
    noted = f"open({str(log)!r}, 'a').write('x')\n" if log else ""
    return python(f"{noted}print({text!r})")


def test_it_is_given_the_settings_and_a_folder_of_its_own(tmp_path):
    heard = tmp_path / "heard"
    code = (
        "import json, os, sys, tempfile\n"
        f"json.dump([json.load(sys.stdin), os.environ['KOP_CACHE'], tempfile.mkdtemp()],"
        f" open({str(heard)!r}, 'w'))\n"
        f"print({AS_JSON!r})"
    )
    assert measure(CONFIG, command=python(code)) == MEASURED
    config, cache, made = json.loads(heard.read_text())
    assert TrainingConfig.from_config(config) == CONFIG
    assert made.startswith(cache) and cache.startswith(tempfile.gettempdir())
    assert not Path(cache).exists()  # nothing is left of it


def test_a_process_that_says_very_much_is_heard_to_its_end():
    code = f"import sys\nsys.stderr.write('x' * 10**6)\nprint(' ' * 10**6 + {AS_JSON!r})"
    assert measure(CONFIG, command=python(code)) == MEASURED


@pytest.mark.parametrize(
    ("code", "says"),
    [
        ("import sys; print('note', file=sys.stderr); sys.exit('kop_core: No such network.')",
         "The time could not be measured: No such network."),
        ("raise ValueError('/data/Smith, Jane.png')", "ended unexpectedly."),
        ("import os; os.kill(os.getpid(), 9)", "Choose a smaller batch."),
        ("import sys; sys.stdin.close()", "gave no figures."),
        ("print('[')", "gave no figures."),
        ("print('[]')", "gave no figures."),
        ("print('{}')", "gave no figures."),
        ("print('{\"measured\": {\"step_seconds\": 0}}')", "no measurement"),
    ],
)  # fmt: skip
def test_what_goes_wrong_there_is_a_sentence(folder, code, says):
    with pytest.raises(RunError) as raised:
        measure(CONFIG, command=python(code))
    assert says in str(raised.value) and str(raised.value).endswith((".", ")."))
    assert "Jane" not in str(raised.value) and "Traceback" not in str(raised.value)
    assert estimating.kept(CONFIG) is None


def test_a_process_that_cannot_be_started_is_named():
    with pytest.raises(RunError, match="could not be measured: No such file"):
        measure(CONFIG, command=("/no/such/python",))


ENDLESS = python("import time; time.sleep(120)")


@pytest.fixture
def started(monkeypatch) -> list[subprocess.Popen]:
    """The processes that were started."""
    found: list[subprocess.Popen] = []

    class Noted(subprocess.Popen):
        def __init__(self, *arguments, **more) -> None:
            super().__init__(*arguments, **more)
            found.append(self)

    monkeypatch.setattr(subprocess, "Popen", Noted)
    return found


def ended(started: list[subprocess.Popen]) -> bool:
    (process,) = started
    return process.returncode == -signal.SIGKILL and process.stdout.closed


def test_stopping_ends_the_process(started):
    stop, began = threading.Event(), time.monotonic()
    threading.Timer(0.5, stop.set).start()
    with pytest.raises(RunError, match=r"^The measurement was stopped\.$"):
        measure(CONFIG, stop, command=ENDLESS)
    assert ended(started) and time.monotonic() - began < 60


def test_what_interrupts_whoever_asked_ends_the_process(started):
    class Interrupting(threading.Event):
        def is_set(self) -> bool:
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        measure(CONFIG, Interrupting(), command=ENDLESS)
    assert ended(started)


def test_what_takes_too_long_is_given_up_and_ended(started):
    with pytest.raises(RunError, match=r"more than 1 s\. A smaller batch"):
        measure(CONFIG, threading.Event(), command=ENDLESS, timeout=1)
    assert ended(started)


# What is kept.


def test_what_was_measured_is_kept_and_not_measured_again(tmp_path, folder):
    log = tmp_path / "log"
    assert estimating.kept(CONFIG) is None
    for config in (CONFIG, replace(CONFIG, epochs=3, seed=9, options={"dropout": 0.1})):
        assert measure(config, command=saying(log=log)) == MEASURED
    assert log.read_text() == "x" and estimating.kept(CONFIG) == MEASURED
    assert [p.suffix for p in folder.iterdir()] == [".json"]
    measure(replace(CONFIG, batch_size=4), command=saying(log=log))
    assert log.read_text() == "xx"


def test_without_the_cache_nothing_is_taken_from_it_or_put_into_it(tmp_path, folder):
    log = tmp_path / "log"
    for _ in range(2):
        measure(CONFIG, cache=False, command=saying(log=log))
    assert log.read_text() == "xx" and not folder.exists()


def test_what_was_measured_beside_a_training_is_measured_again_when_the_machine_is_free(tmp_path):
    log = tmp_path / "log"
    assert measure(CONFIG, busy=True, command=saying(log=log)).busy
    assert estimating.kept(CONFIG).busy
    assert measure(CONFIG, busy=True, command=saying(log=log)).busy and log.read_text() == "x"
    assert not measure(CONFIG, command=saying(log=log)).busy and log.read_text() == "xx"
    assert not measure(CONFIG, busy=True, command=saying(log=log)).busy and log.read_text() == "xx"


@pytest.mark.parametrize(
    "content",
    [b"", b"{", b"null", b"[]", b"\xff\xfe", b"[" * 100_000, AS_JSON.encode(),
     json.dumps({**MEASURED.get_config(), "step_seconds": 0}).encode(),
     json.dumps({**MEASURED.get_config(), "step_seconds": math.inf}).encode(),
     json.dumps({**MEASURED.get_config(), "pictures": 10**400}).encode(), None],
)  # fmt: skip
def test_what_is_kept_and_damaged_is_measured_anew(folder, content):
    measure(CONFIG, command=saying())
    (path,) = folder.iterdir()
    path.unlink()
    if content is None:
        path.mkdir()
    else:
        path.write_bytes(content)
    assert estimating.kept(CONFIG) is None
    assert measure(CONFIG, command=saying()) == MEASURED
    assert content is None or estimating.kept(CONFIG) == MEASURED


def test_a_cache_that_cannot_be_written_is_no_error(tmp_path):
    (tmp_path / "cache").write_text("a file")
    assert measure(CONFIG, command=saying()) == MEASURED
    assert estimating.kept(CONFIG) is None


def test_only_the_newest_measurements_are_kept(folder, monkeypatch):
    monkeypatch.setattr(estimating, "_KEPT", 3)
    configs = [replace(CONFIG, batch_size=b) for b in range(1, 6)]
    for age, config in enumerate(configs):
        estimating._keep(config, MEASURED)
        os.utime(estimating._path(config), (1000 + age, 1000 + age))
    estimating._keep(CONFIG, MEASURED)
    assert [estimating.kept(c) is not None for c in (*configs, CONFIG)] == [
        False, False, False, True, True, True,
    ]  # fmt: skip


# Measuring itself.


def test_the_clock_leaves_out_the_compilation(monkeypatch):
    """Twenty seconds of start, steps of 0.5 s, pictures of 0.25 s, and 1 s a checkpoint."""
    now = [0.0]
    monkeypatch.setattr(estimating.time, "perf_counter", lambda: now[0])
    monkeypatch.setattr(estimating, "_parameters", lambda config: 5)
    clock = estimating._Clock()

    def tell(stage: str, after: float, done: int, epoch: int) -> None:
        now[0] += after
        clock(Progress(stage, done, 4, epoch, 2, None, {}))

    for epoch, first_step, first_pictures in ((1, 20, 9), (2, 0.5, 2)):
        for step in (1, 2, 3, 4):
            tell("training", first_step if step == 1 else 0.5, step, epoch)
        tell("validating", first_pictures, 8, epoch)
        tell("validating", 2, 16, epoch)
        if epoch == 1:
            tell("epoch", 1, 1, 1)
    with pytest.raises(estimating._Enough):
        tell("epoch", 1, 2, 2)
    found = clock.measurement(CONFIG, 48)
    assert found.step_seconds == pytest.approx(0.5) and found.start_seconds == 20
    assert found.evaluation_seconds == pytest.approx(0.25)
    assert found.epoch_seconds == pytest.approx(1)
    assert (found.pictures, found.parameters) == (48, 5) and found.memory_bytes > 10**6


def test_slow_steps_are_measured_on_a_few(monkeypatch):
    now = [0.0]
    monkeypatch.setattr(estimating.time, "perf_counter", lambda: now[0])
    monkeypatch.setattr(estimating, "_parameters", lambda config: 5)
    clock, step = estimating._Clock(), 0
    with pytest.raises(estimating._Enough):
        while step < 100:
            step += 1
            now[0] += 60 if step == 1 else 12
            clock(Progress("training", step, 100, 1, 2, None, {}))
    assert step == 4
    found = clock.measurement(CONFIG, 48)
    assert found.step_seconds == pytest.approx(12)
    assert found.evaluation_seconds == pytest.approx(12 / 8 / 3) and found.epoch_seconds == 0


def test_nothing_trained_is_nothing_measured():
    with pytest.raises(RunError, match="no step was trained"):
        estimating._Clock().measurement(CONFIG, 6)


WITH_SMALL = (
    "import sys\nfrom kop_core import cli\nfrom kop_core.networks import registry\n"
    "from tests.conftest import make_small_network\n"
    "registry._NETWORKS['small'] = make_small_network()\nsys.exit(cli.main(sys.argv[1:]))"
)


def test_a_few_steps_are_really_trained_by_the_command(small_network):
    """With settings that would stop the measurement, were they its own."""
    config = replace(CONFIG, validation_share=0.2, keep="best", patience=1, fold=1, folds=3,
                     learning_rate=1e30, class_weights="balanced", warmup_epochs=2.5)  # fmt: skip
    command = (*python(WITH_SMALL), "estimate", "--config", "-", "--json")
    began = time.monotonic()
    found = measure(config, command=command)
    took = time.monotonic() - began
    assert 0 < found.step_seconds < took and 0 < found.evaluation_seconds < took
    assert 0 < found.start_seconds < took and found.epoch_seconds < took
    assert found.memory_bytes > 10**8 and found.pictures == 4 * 8 + 2 * 8
    assert found.parameters == 3 * 3 * 3 * 8 + 8 + 4 * 8 + 8 * 16 + 16 + 16 * 3 + 3
    assert estimating.kept(config) == found


def test_reading_is_tried_on_some_files(small_data, monkeypatch):
    data = scan(small_data)
    assert 0 < estimating.reading_seconds(data, CONFIG) < 5
    assert estimating.reading_seconds(replace(data, items=()), CONFIG) == 0
    read, tried = [], []
    monkeypatch.setattr("kop_core.radiographs.read", lambda path: read.append(path) or tried)
    monkeypatch.setattr(
        "kop_core.radiographs.preparation.prepare_grey", lambda r, p: tried.append(p)
    )
    estimating.reading_seconds(data, replace(CONFIG, size=96), most=4)
    assert len(set(read)) == 4 and {p.height for p in tried} == {96}


def test_files_that_cannot_be_read_are_no_error(small_data):
    data = scan(small_data)
    for item in data.items[::2]:
        data.path(item).unlink()
    for item in data.items[1::2]:
        data.path(item).write_bytes(b"no picture")
    assert estimating.reading_seconds(data, CONFIG) >= 0


# The command.


@pytest.fixture
def measured(monkeypatch) -> list[TrainingConfig]:
    """Nothing is measured; what would have been is listed."""
    asked: list[TrainingConfig] = []
    for name in ("measure", "measure_here"):
        monkeypatch.setattr(estimating, name, lambda config: asked.append(config) or MEASURED)
    monkeypatch.setattr("kop_core.commands.console.start_tensorflow", lambda: None)
    return asked


def test_the_command_says_how_long_a_run_on_a_data_set_takes(small_data, measured, capsys):
    wanted = ("estimate", "--data", str(small_data), "--network", "small", "--epochs", "3",
              "--batch", "4", "--precision", "float32")  # fmt: skip
    assert cli.main(wanted) == 0
    said = capsys.readouterr().out
    assert "3 epochs of 8 steps at 2.0 s, measured on this machine." in said
    assert "It needs about " in said
    (config,) = measured
    assert (config.network, config.epochs, config.batch_size) == ("small", 3, 4)
    assert cli.main((*wanted, "--json")) == 0
    said = json.loads(capsys.readouterr().out)
    assert Measurement.from_config(said.pop("measured")) == MEASURED
    data = setting_up.facts(setting_up.divide(scan(small_data), config), config)
    least = estimate(config, data, MEASURED).seconds
    assert said["steps"] == 8 and least < said["seconds"] < least + 30


def test_without_data_it_says_how_long_a_step_takes(measured, capsys):
    assert cli.main(("estimate", "--network", "small", "--batch", "8")) == 0
    assert capsys.readouterr().out == estimating.step_sentence(CONFIG, MEASURED) + "\n"


def test_settings_come_from_the_files_of_a_run(tmp_path, measured, capsys):
    path = tmp_path / "request.json"
    config = replace(CONFIG, optimizer="adam", augmentation=None)
    for said in (config.get_config(), {"format": 1, "config": config.get_config()}):
        path.write_text(json.dumps(said))
        assert cli.main(("estimate", "--config", str(path), "--json")) == 0
    assert cli.main(("estimate", "--config", str(path), "--batch", "4", "--json")) == 0
    assert measured == [config, config, replace(config, batch_size=4)]


@pytest.mark.parametrize(
    ("content", "says"),
    [(b"{", "cannot be read"), (b"\xff", "cannot be read"), (b"[]", "no settings"),
     (b"[" * 100_000, "cannot be read"), (b'{"config": 7}', "no settings"),
     (b'{"colour": "red"}', "Unknown settings: colour"), (b'{"epochs": "two"}', "epochs"),
     (b'{"augmentation": 7}', "cannot be read"), (None, "cannot be read")],
)  # fmt: skip
def test_settings_that_cannot_be_read_are_named(tmp_path, measured, capsys, content, says):
    path = tmp_path / "settings.json"
    if content is not None:
        path.write_bytes(content)
    assert cli.main(("estimate", "--config", str(path))) == 1
    said = capsys.readouterr().err
    assert says in said and said.startswith("kop_core: ") and "Traceback" not in said
    assert measured == []
