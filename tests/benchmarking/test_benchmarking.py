"""A benchmark from nothing to a page: trained, stopped, gone on with."""

from __future__ import annotations

import errno
import shutil
from collections import namedtuple
from dataclasses import replace

import pytest

from kop_core.benchmarking import Told, benchmark, page, plan, results, runs
from kop_core.errors import DataSetError, RunError, WeightsError
from kop_core.training import Progress, locks
from tests.benchmarking.conftest import TINY


class Interrupted(BaseException):
    """A benchmark killed from outside."""


@pytest.fixture
def copy(whole, tmp_path):
    """The finished benchmark, to be altered."""
    for name in ("runs", "out"):
        shutil.copytree(getattr(whole, name), tmp_path / getattr(whole, name).name)
    return replace(whole, runs=tmp_path / whole.runs.name, out=tmp_path / whole.out.name)


def again(given, wanted=None, **more):
    return benchmark(given.data, wanted or given.wanted, given.out, given.runs, **more)


def tables(given) -> dict[str, bytes]:
    return {str(p.relative_to(given.out)): p.read_bytes() for p in given.out.rglob("*.csv")}


def test_everything_is_there(whole):
    found = results.read(whole.out / "knees")
    assert len(found.finished) == 2
    assert found.data["files"] == 24 and found.data["radiographs"] == 12
    arm = found.arms[0]
    assert len(arm.predictions("small")[0].files) == 24
    assert arm.differences("small") is not None
    assert set(found.speed["networks"]) == {"paper", "small"}
    assert found.speed["networks"]["paper"]["ratio"] == 1
    assert found.speed["networks"]["small"]["milliseconds"] > 0
    assert found.finished[0]["parameters"] > 100


def test_only_what_is_small_is_kept(whole):
    kept = {p.name for p in whole.runs.rglob("*") if p.is_file()}
    assert kept == {*runs.KEPT, "lock"}
    out = [p for p in whole.out.rglob("*") if p.is_file()]
    assert {p.suffix for p in out} == {".csv", ".json", ".svg", ".md"}
    assert sum(p.stat().st_size for p in out) < 200_000


def test_what_is_finished_is_used_as_it_is(copy):
    before = tables(copy), (copy.out / page.PAGE).read_text()
    begun = []
    told = Told(began=lambda *said: begun.append(said), timing=lambda *said: begun.append(said))
    again(copy, told=told)
    assert (tables(copy), (copy.out / page.PAGE).read_text()) == before
    shutil.rmtree(copy.runs)  # nor is it trained again when only the page is left
    again(copy, told=told)
    assert begun == []
    assert (tables(copy), (copy.out / page.PAGE).read_text()) == before


def test_stopped_in_the_middle_of_a_job_it_goes_on(copy, whole):
    expected = tables(copy)
    shutil.rmtree(copy.out)
    for job in copy.wanted[1].jobs:
        shutil.rmtree(copy.runs / "knees" / job.name)

    def kill(progress: Progress) -> None:
        if progress.stage == "epoch":
            raise Interrupted

    with pytest.raises(Interrupted):
        again(copy, told=Told(report=kill))
    text = (copy.out / page.PAGE).read_text()
    assert "**1 of 2 repeats of networks done**." in text
    begun, epochs = [], []
    told = Told(
        began=lambda job, place, total, left: begun.append((job.name, place, total, left)),
        report=lambda p: epochs.append(p.epoch) if p.stage == "epoch" else None,
    )
    again(copy, told=told)
    assert [said[:3] for said in begun] == [
        ("radiograph/small/repeat-1-fold-1-of-2", 1, 2),
        ("radiograph/small/repeat-1-fold-2-of-2", 2, 2),
    ]
    assert begun[1][3] > 0
    assert epochs == [2, 1, 2]  # the first epoch of the first was not lost
    assert tables(copy).keys() == expected.keys()
    found, there = (results.read(g.out / "knees").arms[0] for g in (copy, whole))
    for network in there.networks:
        for one, other in zip(found.predictions(network), there.predictions(network)):
            assert one.files == other.files
            assert one.probabilities == pytest.approx(other.probabilities, abs=1e-4)


def test_a_session_that_is_lost_loses_no_finished_fold(copy):
    shutil.rmtree(copy.out)
    second = copy.wanted[0].jobs[1]
    shutil.rmtree(copy.runs / "knees" / second.name)
    begun = []

    def kill(job, *_) -> None:
        begun.append(job.name)
        raise Interrupted

    for _ in range(2):
        with pytest.raises(Interrupted):
            again(copy, copy.wanted[:1], told=Told(began=kill))
        shutil.rmtree(copy.runs)
    assert begun == [second.name] * 2


def test_the_page_is_written_after_each_fold(copy, monkeypatch):
    shutil.rmtree(copy.out)
    for job in copy.wanted[0].jobs:
        (copy.runs / "knees" / job.name).rename(copy.runs / str(job.config.fold))
    monkeypatch.setattr(
        runs, "do",
        lambda job, folder, *_: (copy.runs / str(job.config.fold)).rename(folder / job.name),
    )  # fmt: skip
    said = []
    told = Told(began=lambda *_: said.append((copy.out / page.PAGE).read_text()))
    again(copy, copy.wanted[:1], told=told)
    assert "has 1 of 2 folds" not in said[0] and "has 1 of 2 folds" in said[1]


def test_what_is_large_goes_though_it_was_stopped_before_that(copy):
    folder = copy.runs / "knees" / copy.wanted[0].jobs[0].name
    for name in ("model.keras", "checkpoint.npz"):
        (folder / name).write_bytes(b"large")
    again(copy)
    assert {p.name for p in folder.iterdir()} == set(runs.KEPT)


def test_models_are_kept_if_one_wants(copy):
    shutil.rmtree(copy.out)
    job = copy.wanted[0].jobs[0]
    shutil.rmtree(copy.runs / "knees" / job.name)
    again(copy, copy.wanted[:1], keep_models=True)
    assert (copy.runs / "knees" / job.name / "model.keras").is_file()
    assert not (copy.runs / "knees" / job.name / "checkpoint.npz").exists()
    again(copy, copy.wanted[:1])  # nor does another call take them away
    assert (copy.runs / "knees" / job.name / "model.keras").is_file()


def test_a_job_that_fails_does_not_stop_the_others(copy, monkeypatch):
    shutil.rmtree(copy.out)
    shutil.rmtree(copy.runs)
    done, failing = runs.do, copy.wanted[0].jobs[0]

    def do(job, *rest):
        if job == failing:
            raise RunError("The loss stopped being a number.")
        return done(job, *rest)

    monkeypatch.setattr(runs, "do", do)
    with pytest.raises(RunError, match=r"1 of 4 jobs failed.*stopped being a number"):
        again(copy)
    text = (copy.out / page.PAGE).read_text()
    assert "**1 of 2 repeats of networks done**: paper (radiograph, repeat 1) has 1 of 2" in text


def exhausted() -> Exception:
    """Return what TensorFlow raises when a processor has no memory left."""
    import tensorflow as tf

    return tf.errors.ResourceExhaustedError(None, None, "OOM when allocating tensor")


@pytest.mark.parametrize(
    ("made", "says"),
    [
        (exhausted, "not enough memory"),
        (MemoryError, "not enough memory"),
        (lambda: ValueError("shapes"), r"did not foresee \(ValueError\)"),
        (lambda: OSError(5, "Input/output error", "patient.png"), "Input/output error"),
    ],
)
def test_an_error_of_any_kind_is_that_of_its_job_alone(copy, monkeypatch, made, says):
    shutil.rmtree(copy.out)
    for job in copy.wanted[0].jobs:
        shutil.rmtree(copy.runs / "knees" / job.name)
    cleared, begun = [], []

    def train(config, *_):
        begun.append(config.fold)
        raise made()

    monkeypatch.setattr(runs, "train", train)
    monkeypatch.setattr("keras.utils.clear_session", lambda: cleared.append(True))
    with pytest.raises(RunError, match=rf"2 of 2 jobs failed.*{says}") as caught:
        again(copy, copy.wanted[:1])
    assert begun == [1, 2] and len(cleared) >= 2
    assert "patient" not in str(caught.value)


def test_a_disk_that_fills_up_in_the_middle_stops_it(copy, monkeypatch):
    shutil.rmtree(copy.out)
    for job in copy.wanted[0].jobs:
        shutil.rmtree(copy.runs / "knees" / job.name)
    begun = []

    def train(config, *_):
        begun.append(config.fold)
        raise OSError(errno.ENOSPC, "No space left on device")

    monkeypatch.setattr(runs, "train", train)
    with pytest.raises(runs.NoRoom, match=r"disk is full.*goes on after"):
        again(copy, copy.wanted[:1])
    assert begun == [1]


def test_a_full_disk_stops_it(copy, monkeypatch):
    shutil.rmtree(copy.out)
    shutil.rmtree(copy.runs / "knees" / copy.wanted[0].jobs[0].name)
    usage = namedtuple("Usage", "total used free")
    monkeypatch.setattr(runs.shutil, "disk_usage", lambda _: usage(10**9, 10**9, 1000))
    begun = []
    with pytest.raises(RunError, match=r"too little room.*what is finished is kept"):
        again(copy, told=Told(began=lambda *said: begun.append(said)))
    assert len(begun) == 1


def test_two_at_once_are_refused(copy):
    lock = locks.take(copy.runs / "knees" / "lock")
    with locks.kept(lock), pytest.raises(RunError, match="Another benchmark is at work"):
        again(copy)


def test_data_that_cannot_be_divided_so_is_named_before_any_training(copy):
    begun = []
    told = Told(began=lambda *said: begun.append(said))
    with pytest.raises(DataSetError, match="5 folds are too many"):
        again(copy, plan(["small"], ["radiograph"], 5, recipe=TINY), told=told)
    large = replace(TINY, batch_size=16)
    with pytest.raises(DataSetError, match="fewer than a batch of 16"):
        again(copy, plan(["small"], ["radiograph"], 2, recipe=large), told=told)
    with pytest.raises(DataSetError, match="not a folder"):
        again(replace(copy, data=copy.data / "none"), told=told)
    assert begun == []


@pytest.fixture
def weights(tmp_path):
    """A folder of weights that the small network can begin with."""
    from kop_core.networks import build, pretrained

    folder = tmp_path / "weights"
    folder.mkdir()
    pretrained.save(build("small"), "small", folder / "small_conv.npz")
    return folder


def test_a_network_whose_weights_are_at_hand_begins_with_them(whole, weights, tmp_path):
    recipe = replace(TINY, epochs=6)
    wanted = plan(["small"], ["random"], 2, recipe=recipe, weights=weights)
    given = wanted[0].settings
    assert (given["pretrained"], given["head_epochs"]) == ("small_conv.npz", 1)
    out = tmp_path / "page"
    text = benchmark(whole.data, wanted, out, tmp_path / "runs").read_text()
    assert "| Small | ImageNet (small_conv.npz) | 1 |" in text
    assert "for 1 epoch only their heads learned, then everything, the backbone at 0.1" in text
    assert "fresh weights" not in text and str(tmp_path) not in text
    assert "paper's network is not among them" in text
    entry = results.read(out / "knees").finished[0]
    assert entry["began_with"]["name"] == "small_conv.npz" and len(entry["began_with"]["sha256"])
    # wherever the folder lies
    moved = weights.rename(tmp_path / "elsewhere")
    again = plan(["small"], ["random"], 2, recipe=recipe, weights=moved)
    assert benchmark(whole.data, again, out, tmp_path / "runs").read_text() == text


def test_weights_of_another_network_are_named_before_any_training(copy, weights, tmp_path):
    from kop_core.networks import pretrained

    (weights / "small_conv.npz").unlink()
    shutil.copyfile(pretrained.SHIPPED / "efficientnet_lite0.npz", weights / "small.npz")
    begun = []
    with pytest.raises(WeightsError, match="does not fit the network small"):
        benchmark(
            copy.data, plan(["small"], ["random"], 2, recipe=TINY, weights=weights),
            tmp_path / "page", tmp_path / "other runs",
            told=Told(began=lambda *said: begun.append(said)),
        )  # fmt: skip
    assert begun == []
