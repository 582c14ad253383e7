"""Training what is missing, and only that; the page from what is there."""

from __future__ import annotations

import csv
import hashlib
import json
import shutil
from dataclasses import asdict, replace

import numpy as np
import pytest

from kop_core.datasets import scan
from kop_core.datasets.audit import audit, examine_split
from kop_core.errors import KopError, ModelError, RunError
from kop_core.evaluation import Predictions
from kop_core.reproduction import (
    PAPER_SETTINGS,
    page,
    plan,
    rebuild,
    reproduce,
    results,
    runs,
    settings,
)
from kop_core.training import Progress, TrainingConfig, locks, train
from kop_core.training.run_folder import RunFolder, write_json
from tests.reproduction.conftest import TINY


class Interrupted(Exception):
    """A reproduction killed from outside."""


@pytest.fixture
def copy(whole, tmp_path):
    """The finished reproduction, to be altered."""
    for name in ("runs", "out", "data"):
        shutil.copytree(getattr(whole, name), tmp_path / getattr(whole, name).name)
    return replace(
        whole,
        runs=tmp_path / whole.runs.name,
        out=tmp_path / whole.out.name,
        data=tmp_path / whole.data.name,
    )


def again(given, jobs=None, **callbacks):
    return reproduce(given.data, jobs or given.jobs, given.out, given.runs, **callbacks)


# The plan.


def test_the_papers_settings():
    given = TrainingConfig.from_config(PAPER_SETTINGS.get_config())
    assert given == PAPER_SETTINGS
    assert (given.optimizer, given.learning_rate, given.batch_size) == ("adam", 3e-4, 8)
    assert given.options == {"dropout": 0.2, "batch_norm_momentum": 0.9}
    assert (given.epochs, given.test_share, given.schedule) == (30, 0.2, "cosine")


def test_a_job_for_each_split():
    names = [job.name for job in plan(TINY, (1, 2))]
    # in turn: a reproduction that is stopped has both kinds of split
    assert names == ["random-1", "radiograph-1", "random-2", "radiograph-2"]
    assert [j.config.split for j in plan(TINY, (7,))] == ["random", "radiograph"]
    assert all(j.config.seed == 7 for j in plan(TINY, (7,)))
    folds = plan(TINY, (3, 4), folds=3)
    grouped = [j for j in folds if j.config.split == "radiograph"]
    assert [j.name for j in grouped] == [f"radiograph-3-fold-{i}-of-3" for i in (1, 2, 3)]
    assert [folds.index(j) for j in grouped] == [1, 3, 4]
    assert [(j.config.fold, j.config.folds, j.config.seed) for j in grouped] == [
        (1, 3, 3), (2, 3, 3), (3, 3, 3),
    ]  # fmt: skip


@pytest.mark.parametrize(
    ("seeds", "folds", "says"),
    [((), None, "at least one"), ((1, 1), None, "twice"), ((-1,), None, "seed"),
     ((1,), 1, "at least 2"), ((1,), 0, "at least 2")],
)  # fmt: skip
def test_plans_that_make_no_sense_are_named(seeds, folds, says):
    with pytest.raises(RunError, match=says):
        plan(TINY, seeds, folds)


# Going on.


def test_everything_is_collected(whole):
    found = results.read(whole.out / "knees")
    assert [r["name"] for r in found.finished] == [job.name for job in whole.jobs]
    assert found.data["files"] == 36 and found.data["conflicted_radiographs"] == 2
    for job in whole.jobs:
        run = RunFolder(whole.runs / "knees" / job.name)
        for name in ("history.csv", "predictions.csv"):
            assert (whole.out / "knees" / job.name / name).read_bytes() == (
                run.path / name
            ).read_bytes()
    assert {p.name for p in whole.out.iterdir()} == {"README.md", "knees"}
    assert sum(p.stat().st_size for p in whole.out.rglob("*") if p.is_file()) < 500_000


def test_finished_runs_are_used_as_they_are(copy):
    files = [p for p in copy.runs.rglob("*") if p.is_file() and p.name != locks.RUN_LOCK]
    before = [p.stat().st_mtime_ns for p in files]
    text = (copy.out / page.PAGE).read_text()
    begun = []
    again(copy, began=lambda *said: begun.append(said))
    assert begun == []
    assert [p.stat().st_mtime_ns for p in files] == before
    assert (copy.out / page.PAGE).read_text() == text


def test_a_half_done_run_is_resumed(copy, whole):
    job = copy.jobs[-1]
    folder = copy.runs / "knees" / job.name
    shutil.rmtree(folder)
    shutil.rmtree(copy.out)
    copy.out.mkdir()

    def kill(progress: Progress) -> None:
        if progress.stage == "epoch":
            raise Interrupted

    with pytest.raises(Interrupted):
        again(copy, report=kill)
    rebuild(copy.out, copy.data, copy.jobs, copy.runs)
    text = (copy.out / page.PAGE).read_text()
    assert "**3 of 4 runs done**: radiograph-2 is at 1 of 2 epochs." in text
    begun = []
    again(copy, began=lambda job, place, total: begun.append((job.name, place, total)))
    assert begun == [("radiograph-2", 4, 4)]
    text = (copy.out / page.PAGE).read_text()
    assert "All 4 runs are done." in text and "runs done**" not in text
    first = results.read(whole.out / "knees").arms[1].evaluation
    second = results.read(copy.out / "knees").arms[1].evaluation
    assert (first.confusion == second.confusion).all()


def test_what_was_collected_is_not_trained_again_on_another_machine(copy):
    for name in ("random-1", "radiograph-2"):
        shutil.rmtree(copy.runs / "knees" / name)
    shutil.rmtree(copy.out / "knees" / "radiograph-2")
    record = copy.out / "knees" / results.RESULTS
    found = json.loads(record.read_text())
    found["runs"] = [run for run in found["runs"] if run["name"] != "radiograph-2"]
    write_json(record, found)
    begun = []
    again(copy, began=lambda job, place, total: begun.append((job.name, place, total)))
    assert begun == [("radiograph-2", 4, 4)]
    assert not (copy.runs / "knees" / "random-1").exists()
    assert "All 4 runs are done." in (copy.out / page.PAGE).read_text()


def test_two_at_once_do_not_work_on_the_same_runs(copy):
    lock = locks.take(copy.runs / "knees" / locks.RUN_LOCK)
    with locks.kept(lock), pytest.raises(RunError, match="Another reproduction is at work"):
        again(copy)
    again(copy)


def test_a_run_stopped_before_its_record_begins_anew(copy):
    folder = copy.runs / "knees" / "random-1"
    for path in folder.iterdir():
        if path.name != "split.csv":
            path.unlink()
    shutil.rmtree(copy.out)
    again(copy)
    assert (folder / "card.json").is_file()


def test_runs_of_the_first_kop_are_accepted(copy):
    run = RunFolder(copy.runs / "knees" / "random-1")
    record = run.read_record()
    for name in ("split", "conflicts", "folds", "fold", "warmup_epochs"):
        del record["config"][name]
    for name in ("conflicts", "fold", "folds", "left_out_files", "same_patient"):
        del record["split"][name]
    write_json(run.record, record)
    card = json.loads(run.card.read_text())
    card["split"] = record["split"]
    card["training"]["config"] = record["config"]
    write_json(run.card, card)
    begun = []
    again(copy, began=lambda *said: begun.append(said))
    assert begun == []
    table = (copy.out / page.PAGE).read_text().split("### What each split leaks")[1]
    assert "| random-1 | 25 | 11 |" in table


def test_runs_with_other_settings_are_refused(copy):
    jobs = plan(replace(TINY, learning_rate=0.5, options={"dropout": 0.1}), (1, 2))
    with pytest.raises(RunError, match=r"has learning_rate 0.02 instead of 0.5, options"):
        again(copy, jobs)
    shutil.rmtree(copy.out)
    with pytest.raises(RunError, match=r"random-1 has learning_rate 0.02 instead of 0.5, options"):
        again(copy, jobs)
    # a random split is no split by radiograph, whatever the folder is called
    swapped = [replace(copy.jobs[0], name="radiograph-1")]
    with pytest.raises(RunError, match="split 'radiograph' instead of 'random'"):
        again(copy, swapped)


def test_runs_on_other_data_are_refused(copy):
    (copy.data / "Normal" / "Normal 0.png").unlink()
    with pytest.raises(RunError, match="other pictures"):
        again(copy)


def test_an_altered_run_is_refused(copy):
    with (copy.runs / "knees" / "random-2" / "predictions.csv").open("a") as stream:
        stream.write("x,R1,healthy,1,0,0\n")
    with pytest.raises(ModelError, match="altered"):
        rebuild(copy.out, copy.data, copy.jobs, copy.runs)


def test_what_was_collected_is_not_mixed_with_other_data(copy, tmp_path):
    other = tmp_path / "elsewhere" / "knees"
    shutil.copytree(copy.data, other)
    (other / "Normal" / "Normal 0.png").unlink()
    with pytest.raises(RunError, match="other pictures"):
        rebuild(copy.out, other, copy.jobs, tmp_path / "no runs")
    changed = plan(replace(TINY, learning_rate=0.5), (1, 2))
    with pytest.raises(RunError, match=r"learning_rate 0.02 instead of 0.5"):
        rebuild(copy.out, copy.data, changed, tmp_path / "no runs")


# The page without training.


def test_a_precision_that_was_left_to_the_machine_is_the_one_that_it_chose():
    job = plan(TINY, (1,))[0]
    left = {**job.config.get_config(), "precision": "auto"}
    assert runs.unlike(left, job, "float32") == ""
    said = runs.unlike(left, job, "mixed_bfloat16")
    assert said == "precision 'mixed_bfloat16' instead of 'float32'"


def test_a_stored_run_is_not_replaced_by_one_with_other_settings(copy):
    job = replace(copy.jobs[0], config=replace(copy.jobs[0].config, epochs=1))
    shutil.rmtree(copy.runs / "knees")
    train(job.config, copy.data, copy.runs / "knees" / job.name)
    before = {p: p.read_bytes() for p in copy.out.rglob("*") if p.is_file()}
    with pytest.raises(RunError, match=r"random-1 whose results .* has epochs 2 instead of 1"):
        again(copy, [job])
    assert {p: p.read_bytes() for p in copy.out.rglob("*") if p.is_file()} == before


@pytest.mark.parametrize("name", ["history.csv", "predictions.csv"])
def test_altered_results_are_refused(copy, name):
    path = copy.out / "knees" / "random-1" / name
    path.write_text(path.read_text().replace("0.", "0.1", 1))
    with pytest.raises(RunError, match=r"run random-1 in .* were altered"):
        rebuild(copy.out)


def test_the_page_follows_from_the_collected_files_alone(copy):
    text = (copy.out / page.PAGE).read_text()
    figures = {p.name: p.read_bytes() for p in copy.out.rglob("*.svg")}
    assert set(figures) == {"accuracy.svg", "loss.svg", "confusion.svg"}
    shutil.rmtree(copy.runs)
    shutil.rmtree(copy.data)
    (copy.out / page.PAGE).unlink()
    for path in copy.out.rglob("*.svg"):
        path.unlink()
    rebuild(copy.out)
    assert (copy.out / page.PAGE).read_text() == text
    assert {p.name: p.read_bytes() for p in copy.out.rglob("*.svg")} == figures
    # nor do collected runs go when their folders have gone
    rebuild(copy.out, copy.data, copy.jobs, copy.runs)
    assert (copy.out / page.PAGE).read_text() == text


def test_a_page_of_a_half_finished_reproduction(copy):
    for name in ("random-2", "radiograph-2"):
        shutil.rmtree(copy.runs / "knees" / name)
    shutil.rmtree(copy.out)
    rebuild(copy.out, copy.data, copy.jobs, copy.runs)
    text = (copy.out / page.PAGE).read_text()
    assert "**2 of 4 runs done**: random-2 has not begun, radiograph-2 has not begun." in text
    assert "1 of 2 runs" in text and "with the same network and the same settings" in text
    assert "| random-1 |" in text and "| random-2 |" not in text
    assert "look-up of the nearest picture" in text and "for seed 1" not in text
    # one side alone makes a page too
    shutil.rmtree(copy.runs / "knees" / "random-1")
    shutil.rmtree(copy.out)
    rebuild(copy.out, copy.data, copy.jobs, copy.runs)
    text = (copy.out / page.PAGE).read_text()
    assert "**1 of 4 runs done**: 3 have not begun." in text
    assert "By the paper's protocol" not in text


# The audit.


def stored(given) -> dict:
    return json.loads((given.out / "knees" / results.RESULTS).read_text())


def test_the_audit_is_stored(whole):
    found = stored(whole)
    report = audit(scan(whole.data))
    assert found["audit"]["files"] == 36
    assert found["audit"]["radiographs"] == len(report.groups())
    assert found["audit"]["conflicted_radiographs"] == len(report.conflicted())
    assert found["audit"]["random_split_leakage"] == report.random_split_leakage()
    assert set(found["audit"]["shortcuts"]) == {"file_facts", "nearest_picture"}
    for entry in found["runs"]:
        split_path = whole.runs / "knees" / entry["name"] / "split.csv"
        digest = hashlib.sha256(split_path.read_bytes()).hexdigest()
        assert entry["examined"]["split_sha256"] == digest  # drawn again as the run drew it
        with split_path.open() as stream:
            parts = {row["file"]: row["part"] for row in csv.DictReader(stream)}
        training, test = ([f for f in parts if parts[f] == p] for p in ("training", "test"))
        config = entry["config"]
        again = examine_split(scan(whole.data), training, test, config["split"], config["seed"])
        assert entry["examined"]["leakage"] == asdict(again.leakage)
        assert entry["examined"]["look_up"] == again.look_up.get_config()
        assert entry["examined"]["leakage"]["test_files"] == entry["split"]["test_files"]
        told = Predictions.read(whole.out / "knees" / entry["name"] / "predictions.csv")
        right = np.mean(told.predicted == told.true)
        assert entry["examined"]["ahead"]["value"] == pytest.approx(right - again.look_up.value)


def test_what_was_stored_stays_when_the_data_have_gone(copy):
    before = stored(copy)
    shutil.rmtree(copy.data)
    rebuild(copy.out, copy.data, copy.jobs, copy.runs)
    assert stored(copy) == before


def test_a_split_is_examined_once(copy, monkeypatch):
    from kop_core.reproduction import examining

    asked = []

    def counting(*given):
        asked.append(given)
        return examine_split(*given)

    monkeypatch.setattr(examining, "examine_split", counting)
    before = stored(copy)
    rebuild(copy.out, copy.data, copy.jobs, copy.runs)
    assert (asked, stored(copy)) == ([], before)
    monkeypatch.setattr(examining, "VERSION", "another")
    rebuild(copy.out, copy.data, copy.jobs, copy.runs)
    assert len(asked) == 4
    assert stored(copy)["runs"][0]["examined"]["audit_version"] == "another"
    # what an older KOP did not measure is made good, also where the runs have gone
    old = stored(copy)
    del old["runs"][0]["examined"]["ahead"]
    write_json(copy.out / "knees" / results.RESULTS, old)
    shutil.rmtree(copy.runs)
    rebuild(copy.out, copy.data, copy.jobs, copy.runs)
    assert len(asked) == 5
    ahead = [stored(copy)["runs"][0]["examined"], before["runs"][0]["examined"]]
    assert ahead[0]["ahead"] == ahead[1]["ahead"]


def test_results_from_before_a_setting_was_there_still_fit(copy):
    path = copy.out / "knees" / results.RESULTS
    old = stored(copy)
    for entry in old["runs"]:
        del entry["config"]["warmup_epochs"]
    write_json(path, old)
    shutil.rmtree(copy.runs)  # what was collected is compared with what is wanted now
    rebuild(copy.out, copy.data, copy.jobs, copy.runs)
    assert all("warmup_epochs" in entry["config"] for entry in stored(copy)["runs"])


def test_results_from_before_the_audit_make_a_page(copy):
    path = copy.out / "knees" / results.RESULTS
    old = stored(copy)
    del old["audit"]
    for entry in old["runs"]:
        del entry["examined"]
    write_json(path, old)
    text = rebuild(copy.out).read_text()
    assert "KOP's audit is not here" in text and "look-up" not in text
    assert "look-up" not in (copy.out / "knees" / "accuracy.svg").read_text()
    assert "| random-1 | 25 | 11 |" in text.split("### What each split leaks")[1]
    rebuild(copy.out, copy.data, copy.jobs, copy.runs)  # with the data it is made good
    assert "KOP's audit, which only looks" in (copy.out / page.PAGE).read_text()
    damaged = stored(copy)
    damaged["runs"][0]["examined"] = {"look_up": 1}
    write_json(path, damaged)
    with pytest.raises(RunError, match="cannot be read"):
        rebuild(copy.out)


def test_how_far_the_audit_is_can_be_followed(copy, tmp_path):
    told = []
    rebuild(tmp_path / "new", copy.data, copy.jobs, copy.runs, lambda *said: told.append(said))
    assert ("split", 4, 4, None) in told and any(stage == "measuring" for stage, *_ in told)


def test_runs_that_have_not_begun_are_said(copy):
    jobs = plan(TINY, (1, 2, 3))
    rebuild(copy.out, copy.data, jobs, copy.runs)
    text = (copy.out / page.PAGE).read_text()
    assert "**4 of 6 runs done**" in text
    assert "random-3 has not begun, radiograph-3 has not begun" in text
    assert "2 of 3 runs" in text  # in the heads of the tables


def test_a_page_of_nothing_but_a_begun_run(copy, tmp_path):
    folder = tmp_path / "new"
    config = copy.jobs[0].config

    def kill(progress: Progress) -> None:
        if progress.stage == "epoch":
            raise Interrupted

    with pytest.raises(Interrupted):
        train(config, copy.data, folder / "knees" / "random-1", kill)
    out = tmp_path / "page of nothing"
    rebuild(out, copy.data, copy.jobs, folder)
    text = (out / page.PAGE).read_text()
    assert "**0 of 4 runs done**: random-1 is at 1 of 2 epochs, 3 have not begun" in text
    below = text.split("### The data")[1].split("###")[0]
    assert "KOP's audit, which only looks at the pictures, sees" in below
    assert "Table 2" not in text.split("## knees")[1]


def test_two_data_sets_have_a_section_each(copy, tmp_path):
    shutil.copytree(copy.out / "knees", copy.out / "other knees")
    path = copy.out / "other knees" / results.RESULTS
    path.write_text(path.read_text().replace('"name": "knees"', '"name": "other knees"'))
    text = rebuild(copy.out).read_text()
    assert text.index("\n## knees\n") < text.index("\n## other knees\n")
    assert text.count("### Table 2") == 2 and text.count("## Table 1") == 1
    assert "(#other-knees)" in text and "(<other knees/accuracy.svg>)" in text


def test_pages_that_cannot_be_written_are_named(copy, tmp_path):
    with pytest.raises(RunError, match="holds no results"):
        rebuild(tmp_path / "none")
    with pytest.raises(RunError, match="There are no runs of knees"):
        rebuild(tmp_path / "none", copy.data, copy.jobs, tmp_path / "no runs")
    for damage in ("{", '{"format": 1}', '{"format": 1, "name": "a", "data": {}, "runs": [{}]}'):
        (copy.out / "knees" / results.RESULTS).write_text(damage)
        with pytest.raises(RunError, match=r"results\.json cannot be read"):
            rebuild(copy.out)


def test_without_matplotlib_it_is_said(copy, monkeypatch):
    import sys

    monkeypatch.setitem(sys.modules, "matplotlib", None)
    with pytest.raises(KopError, match="matplotlib"):
        rebuild(copy.out)


def test_folds(copy):
    jobs = plan(TINY, (1,), folds=2)
    reproduce(copy.data, jobs, copy.out, copy.runs)
    found = results.read(copy.out / "knees")
    random, plain, folds = found.arms
    assert all(folds.examined(run).leakage.test_files for run in folds.finished)
    assert (random.title, plain.title) == ("random split", "by radiograph")
    assert folds.title == "by radiograph, 2 folds"
    # A figure of some folds is not taken for one of all.
    begun = replace(folds, runs=({**folds.runs[0], "state": runs.MISSING}, *folds.runs[1:]))
    assert begun.title == "by radiograph, 1 of 2 folds"
    assert begun.heading == f"{begun.badge}, 1 of 2 folds"
    # every file is tested once, over the folds
    assert len(folds.pooled.files) == 36 == len({f[2:] for f in folds.pooled.files})
    text = (copy.out / page.PAGE).read_text()
    assert "by radiograph, 2 folds" in text and "fold 2 of 2" in text


def test_the_papers_settings_say_how_they_were_found():
    config = plan(PAPER_SETTINGS, (1,))[0].config.get_config()
    assert settings.are_the_papers(config)
    assert settings.are_the_papers({**config, "seed": 9, "epochs": 3, "split": "radiograph"})
    assert not settings.are_the_papers({**config, "learning_rate": 0.5})
    assert not settings.are_the_papers({**config, "options": {}})
