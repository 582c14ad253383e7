"""From finished runs to the page, on made-up predictions."""

from __future__ import annotations

import json
import re
import shutil
from dataclasses import replace
from xml.etree import ElementTree

import pytest

from kop_core.benchmarking import RECIPE, folds, page, plan, rebuild, results
from kop_core.errors import RunError
from kop_core.evaluation import Estimate, evaluate, published
from kop_core.evaluation.comparison import paired_differences
from kop_core.evaluation.repeated import by_radiograph
from kop_core.model_store import checksum
from kop_core.training.run_folder import RunFolder
from tests.benchmarking.made_up import FACTS, finish, finish_all

SKILLS = {"paper": 0.5, "small": 3.0}


@pytest.fixture
def wanted(tiny_networks):
    return plan(["paper", "small"], ["radiograph", "random"], 3, 2)


@pytest.fixture
def collected(wanted, tmp_path):
    finish_all(wanted, tmp_path / "runs", SKILLS)
    results.collect("knees", tmp_path / "runs", wanted, tmp_path / "out", FACTS)
    return tmp_path


def again(folder, wanted, facts=FACTS, **more):
    results.collect("knees", folder / "runs", wanted, folder / "out", facts, **more)
    return results.read(folder / "out" / "knees")


def rows(text: str, below: str) -> list[list[str]]:
    """Return the cells of the first table below a heading, with its head."""
    lines = text.split(below, 1)[1].splitlines()
    first = next(i for i, line in enumerate(lines) if line.startswith("| "))
    found = []
    for line in lines[first:]:
        if not line.startswith("|"):
            break
        found.append([cell.strip() for cell in line.strip("|").split("|")])
    return [found[0], *found[2:]]


# Collecting.


def test_the_folds_of_a_repeat_become_one_table(collected):
    found = results.read(collected / "out" / "knees")
    assert len(found.finished) == len(found.entries) == 8
    arm = found.arms[0]
    assert (arm.name, arm.networks, arm.folds) == ("radiograph", ("paper", "small"), 3)
    for network in arm.networks:
        for predictions in arm.predictions(network):
            assert predictions.files == tuple(f"f{i:03d}.png" for i in range(60))
    files = [p.relative_to(collected / "out") for p in (collected / "out").rglob("*.csv")]
    assert len(files) == 8
    assert (collected / "out" / "knees" / "random" / "small" / "repeat-2.csv").is_file()


def test_figures_are_those_of_an_evaluation(collected):
    arm = results.read(collected / "out" / "knees").arms[0]
    ours, theirs = arm.predictions("small"), arm.predictions("paper")
    found = arm.figures("small")
    for metric in results.OF_IMAGES:
        each = [evaluate(p, draws=1).metrics[metric].value for p in ours]
        assert found[metric].each == pytest.approx(each)
    once = [evaluate(by_radiograph(p), draws=1).metrics["accuracy"].value for p in ours]
    assert found[results.BY_RADIOGRAPH].each == pytest.approx(once)
    differences, repeats = arm.differences("small")
    assert repeats == 2 and arm.differences("paper") is None
    alone = [
        paired_differences(*pair, ("macro_f1",))["macro_f1"].value for pair in zip(ours, theirs)
    ]
    assert differences["macro_f1"].each == pytest.approx(alone)
    assert differences["macro_roc_auc"].mean.low > 0


def test_a_repeat_that_is_not_whole_waits(wanted, tmp_path):
    first = wanted[0]
    for job in first.jobs[:2]:
        finish(job, tmp_path / "runs")
    finish(first.jobs[2], tmp_path / "runs", epochs=1)
    found = again(tmp_path, wanted)
    assert found.finished == [] and found.arms == ()
    assert found.entries[0]["folds_done"] == 2
    text = page.write(tmp_path / "out").read_text()
    assert "**0 of 8 repeats of networks done**: paper (radiograph, repeat 1) has 2 of 3" in text
    shutil.rmtree(tmp_path / "runs" / first.jobs[2].name)
    finish(first.jobs[2], tmp_path / "runs")
    found = again(tmp_path, wanted)
    assert [e["network"] for e in found.finished] == ["paper"]
    text = page.write(tmp_path / "out").read_text()
    assert "**1 of 8 repeats of networks done**." in text and "Differences from" not in text


def test_what_was_collected_stays_without_its_runs(collected, wanted):
    shutil.rmtree(collected / "runs")
    found = again(collected, wanted)
    assert len(found.finished) == 8
    # and other networks, splits or repeats come beside it
    more = plan(["small"], ["radiograph"], 3, 3)
    found = again(collected, more)
    assert len(found.finished) == 8 and len(found.entries) == 9
    assert all(found.has(series) for series in more[:2]) and not found.has(more[2])


def test_finished_folds_outlive_their_runs(wanted, tmp_path):
    first, place = wanted[0], tmp_path / "out" / "knees" / "radiograph" / "paper" / "repeat-1"
    for job in first.jobs[:2]:
        finish(job, tmp_path / "runs")
    found = again(tmp_path, wanted[:1])
    kept = {"fold-1.json", "fold-1.csv", "fold-2.json", "fold-2.csv"}
    assert {path.name for path in place.iterdir()} == kept
    assert str(tmp_path) not in "".join(path.read_text() for path in place.iterdir())
    shutil.rmtree(tmp_path / "runs")
    found = again(tmp_path, wanted[:1])
    assert found.entries[0]["folds_done"] == 2
    assert [found.holds(first, job) for job in first.jobs] == [True, True, False]
    finish(first.jobs[2], tmp_path / "runs")
    found = again(tmp_path, wanted[:1])
    assert found.arms[0].predictions("paper")[0].files == tuple(f"f{i:03d}.png" for i in range(60))
    assert not place.exists()  # the one table has all of it
    # and it is what comes out if nothing is lost on the way
    finish_all(wanted[:1], tmp_path / "whole" / "runs", {"paper": 1.0})
    assert again(tmp_path / "whole", wanted[:1]).finished == found.finished


def test_a_kept_fold_that_is_not_what_is_wanted_is_refused(wanted, tmp_path):
    finish(wanted[0].jobs[1], tmp_path / "runs")
    again(tmp_path, wanted[:1])
    shutil.rmtree(tmp_path / "runs")
    path = tmp_path / "out" / "knees" / "radiograph" / "paper" / "repeat-1" / "fold-2.json"
    content, table = path.read_text(), path.with_suffix(".csv")
    for other in (replace(RECIPE, epochs=5), replace(RECIPE, learning_rate=0.5)):
        with pytest.raises(RunError, match="with other settings"):
            again(tmp_path, plan(["paper"], ["radiograph"], 3, recipe=other))
    results_there = path.parents[3] / "results.json"
    results_there.rename(tmp_path / "away")
    with pytest.raises(RunError, match=r"fold-2.csv is of a run that has folds 3 instead of 2"):
        again(tmp_path, plan(["paper"], ["radiograph"], 2))
    (tmp_path / "away").rename(results_there)
    for altered, says in (
        (content.replace('"parameters": 1234', '"parameters": 1'), "was altered"),
        (content[:-30], "cannot be read"),
        (content.replace('"format": 1', '"format": 9'), "another version"),
        ("[]", "cannot be read"),
    ):
        path.write_text(altered)
        with pytest.raises(RunError, match=says):
            again(tmp_path, wanted[:1])
    path.write_text(content)
    table.write_text(table.read_text().replace("0.1", "0.2"))
    with pytest.raises(RunError, match=r"fold-2.csv was altered"):
        again(tmp_path, wanted[:1])
    path.unlink()  # that fold is trained again
    assert not again(tmp_path, wanted[:1]).holds(wanted[0], wanted[0].jobs[1])


def without_setting(path, name: str) -> None:
    """Write a file of results as it was before there was a setting."""
    record = json.loads(path.read_text())
    for one in record.get("entries", [record]):
        del one["settings"][name]
    path.write_text(json.dumps({**record, "checksum": folds.checksum(record)}))


def test_results_from_before_a_setting_came_are_as_good(collected, wanted):
    first = plan(["small"], ["radiograph"], 3, 3)[2]
    finish(first.jobs[0], collected / "runs")
    again(collected, [*wanted, first])
    shutil.rmtree(collected / "runs")
    folder = collected / "out" / "knees"
    for path in (folder / "results.json", folder / "radiograph/small/repeat-3/fold-1.json"):
        without_setting(path, "view")
    found = again(collected, [*wanted, first])
    assert len(found.finished) == 8 and found.holds(first, first.jobs[0])
    assert found.finished[0]["settings"] == wanted[0].settings


def test_what_was_only_wanted_binds_nobody(wanted, tmp_path):
    again(tmp_path, plan(["paper"], ["radiograph"], 3, 2, recipe=replace(RECIPE, epochs=5)))
    finish_all(wanted[:1], tmp_path / "runs", SKILLS)
    assert len(again(tmp_path, wanted).finished) == 1


def test_all_networks_have_the_same_budget_and_folds(wanted, tmp_path):
    finish_all(wanted[:1], tmp_path / "runs", SKILLS)
    again(tmp_path, wanted[:1])
    for other, says in (
        (plan(["small"], ["radiograph"], 3, recipe=replace(RECIPE, epochs=9)), "epochs 30 instead"),
        (plan(["small"], ["radiograph"], 3, seed=5), "seed 1 instead of 5"),
        (plan(["small"], ["radiograph"], 5), "folds 3 instead of 5"),
        (plan(["paper"], ["radiograph"], 3, 2, size=64)[1:], "size None instead of 64"),
    ):
        with pytest.raises(RunError, match=rf"of paper \(radiograph\) with other.*{says}"):
            again(tmp_path, other)
    again(tmp_path, plan(["small"], ["radiograph"], 3, 2, size=64))
    again(tmp_path, plan(["small"], ["random"], 3, seed=5))
    # The other splits have the same budget, each network its size, and folds of their own.
    again(tmp_path, plan(["paper"], ["random"], 5))
    longer = plan(["small"], ["random"], 3, recipe=replace(RECIPE, epochs=9))
    for other, says in ((longer, "epochs 30"), (plan(["paper"], ["random"], 3, size=64), "size")):
        with pytest.raises(RunError, match=rf"of paper \(radiograph\) with other.*{says}"):
            again(tmp_path, other)


def test_a_fold_that_tests_other_radiographs_is_refused(wanted, tmp_path):
    finish_all(wanted[:2], tmp_path / "runs", SKILLS)
    again(tmp_path, wanted[:1])
    run = RunFolder(tmp_path / "runs" / wanted[1].jobs[2].name)
    run.predictions.write_text(run.predictions.read_text().replace(",R4,", ",R3,"))
    card = json.loads(run.card.read_text())
    card["checksums"]["predictions.csv"] = checksum(run.predictions)
    run.card.write_text(json.dumps(card))
    with pytest.raises(RunError, match=r"Fold 3 of small .*does not test what it tests of paper"):
        again(tmp_path, wanted[:2])
    shutil.rmtree(run.path)
    assert len(again(tmp_path, wanted[:2]).finished) == 1


def test_a_network_begins_with_the_same_weights_in_every_repeat(wanted, tmp_path):
    later = next(series for series in wanted if series.key == ("radiograph", "paper", 2))
    finish_all([wanted[0], later], tmp_path / "runs", SKILLS)
    again(tmp_path, wanted[:1])
    run = RunFolder(tmp_path / "runs" / later.jobs[1].name)
    record = {**json.loads(run.record.read_text()), "pretrained": {"name": "a", "sha256": "b"}}
    run.record.write_text(json.dumps(record))
    with pytest.raises(RunError, match=r"paper .*repeat 2\) began with different weights"):
        again(tmp_path, [wanted[0], later])


def test_conflicts_are_an_arm_of_their_own(wanted, tmp_path):
    dropped = plan(["paper"], ["radiograph"], 3, 1, conflicts="drop")
    finish_all([wanted[0], *dropped], tmp_path / "runs", SKILLS)
    found = again(tmp_path, [wanted[0], *dropped])
    assert [arm.name for arm in found.arms] == ["radiograph", "radiograph-drop"]
    assert found.arms[1].badge == "by radiograph, conflicted radiographs left out"


def test_other_settings_or_data_are_refused(collected, wanted):
    other = plan(["paper"], ["radiograph"], 3, recipe=replace(RECIPE, learning_rate=0.5))
    with pytest.raises(RunError, match=r"other settings: learning_rate 0.0003 instead of 0.5"):
        again(collected, other)
    with pytest.raises(RunError, match="other pictures"):
        again(collected, wanted, {**FACTS, "fingerprint": "0" * 64})
    shutil.rmtree(collected / "out")
    with pytest.raises(RunError, match=r"run in .*paper.* has learning_rate"):
        again(collected, other)
    with pytest.raises(RunError, match="trained on other pictures"):
        again(collected, wanted, {**FACTS, "fingerprint": "0" * 64})


def test_an_altered_run_is_refused(collected, wanted):
    shutil.rmtree(collected / "out")
    table = collected / "runs" / wanted[0].jobs[1].name / "predictions.csv"
    content = table.read_text()
    table.write_text(content.replace("f0", "g0"))
    with pytest.raises(RunError, match=r"predictions.csv was altered"):
        again(collected, wanted)
    table.write_text(content)
    table.with_name("card.json").write_text("{")
    with pytest.raises(RunError, match="is damaged"):
        again(collected, wanted)


def test_altered_results_are_refused(collected):
    folder = collected / "out" / "knees"
    content = (folder / "results.json").read_text()
    record = json.loads(content)
    record["entries"][0]["parameters"] = 1
    for altered, says in (
        (json.dumps(record), "was altered"),
        (content[:-30], "cannot be read"),
        ("[]", "cannot be read"),
        (content.replace('"format": 1', '"format": 9'), "another version"),
        ("[" * 100_000, "cannot be read"),
    ):
        (folder / "results.json").write_text(altered)
        with pytest.raises(RunError, match=says):
            rebuild(collected / "out")
    (folder / "results.json").write_text(content)
    table = folder / "radiograph" / "paper" / "repeat-1.csv"
    table.write_text(table.read_text().replace("0.1", "0.2"))
    with pytest.raises(RunError, match=r"repeat-1.csv was altered"):
        rebuild(collected / "out")
    table.unlink()
    with pytest.raises(RunError, match=r"repeat-1.csv cannot be read"):
        rebuild(collected / "out")


# The page.


def test_the_page_has_every_network_with_its_differences(collected):
    text = page.write(collected / "out").read_text()
    assert "All 8 repeats of networks are done." in text
    arm = results.read(collected / "out" / "knees").arms[0]
    table = rows(text, "### By radiograph, 3 folds")
    assert [row[0] for row in table[1:]] == ["Paper's", "Small"]
    assert table[0][3] == "macro AUC"
    area = arm.figures("small")["macro_roc_auc"]
    assert table[2][1:3] == ["fresh weights", "2"]
    low, high = area.range
    assert table[2][3] == (
        f"{area.mean.value:.2f} ({area.mean.low:.2f}–{area.mean.high:.2f}) [{low:.2f}–{high:.2f}]"
    )
    below = text.split("### By radiograph")[1]
    assert "Measured on 60 images of 30 radiographs." in below
    assert "1 of the files could not be read and is in no part: dark.png." in below
    table = arm.predictions("small")[0]
    most = max((table.true == k).sum() for k in range(3))
    assert f"the most frequent label, would be right in {most / 60:.0%}".replace("%", " %") in below
    assert "with a balanced accuracy of 33 %. The loss gave each class the same say" in below
    difference = rows(below, "Differences from the paper's network")[1]
    assert difference[:2] == ["Small", "2"] and difference[2].startswith("**+0.")
    assert "### Random split, 50 % of test images have copies in training, 3 folds" in text


def test_the_page_says_what_networks_shared_and_what_they_began_with(collected):
    text = page.write(collected / "out").read_text()
    budget = dict(rows(text, "### Budget"))
    assert budget["epochs"] == "30" and budget["optimiser"] == "AdamW, weight decay 0.01"
    assert budget["learning rate"].endswith("after 2 epochs of warm-up")
    assert "Began with fresh weights" in text and "Paper's, Small" in text
    sizes = rows(text, "### Size and speed")
    assert sizes[1][:4] == ["Paper's", "224 × 224", "1,234", "not measured"]
    assert sizes[1][5] == "15.0"


def test_each_precision_and_what_computed_is_named_with_its_networks(wanted, tmp_path):
    finish_all(wanted[:2], tmp_path / "runs", SKILLS)
    for job in wanted[1].jobs[:1]:
        run = RunFolder(tmp_path / "runs" / job.name)
        versions = {"torch": "2.11.0", "backend": "torch", "gpu": "NVIDIA H200"}
        there = {"precision": "mixed_bfloat16", "versions": versions}
        record = {**json.loads(run.record.read_text()), **there}
        run.record.write_text(json.dumps(record))
    again(tmp_path, wanted[:2])
    said = dict(rows(page.write(tmp_path / "out").read_text(), "### Budget"))
    assert said["precision of training"] == "float32: Paper's, Small; mixed_bfloat16: Small"
    there = "PyTorch 2.11.0 on NVIDIA H200: Small"
    assert said["computed with"] == f"{there}; not recorded: Paper's, Small"


def test_speed_is_on_the_page(collected, wanted):
    speed = {
        "machine": {"processor": "An Example", "cores": 2, "versions": {"keras": "3"}},
        "calls": 40,
        "networks": {
            "paper": {"size": None, "milliseconds": 20.0, "quartiles": [19.0, 21.0], "ratio": 1.0},
            "small": {"size": None, "milliseconds": 5.0, "quartiles": [4.5, 6.0], "ratio": 0.25},
        },
    }
    again(collected, wanted, speed=speed)
    again(collected, wanted)  # what was measured stays
    text = page.write(collected / "out").read_text()
    assert rows(text, "### Size and speed")[2][3:5] == ["5.0 (4.5–6.0)", "0.25"]
    assert "An Example, 2 cores; keras 3" in text and "each network in turn with the paper" in text
    alone = {"small": {**speed["networks"]["small"], "ratio": None}}
    again(collected, wanted, speed={**speed, "networks": alone})
    assert "in turn with the paper" not in page.write(collected / "out").read_text()


def test_a_limit_written_as_nothing_gets_a_digit_more():
    near, apart = Estimate(-0.066, -0.129, -0.0049), Estimate(0.10, 0.05, 0.15)
    assert page._difference(near, False) == "**−0.066 (−0.129 to −0.005)**"
    assert page._difference(apart, False) == "**+0.10 (+0.05 to +0.15)**"
    assert page._difference(Estimate(0.05, 0.0, 0.1), False) == "+0.05 (0.00 to +0.10)"
    assert page._difference(Estimate(0.05, 0.001, 0.1), True) == "**+5.0 (+0.1 to +10.0)**"


def test_the_literature_is_set_apart(collected):
    text = page.write(collected / "out").read_text()
    assert text.index("## knees") < text.index("## What the literature reports")
    table = rows(text, "## What the literature reports")
    assert len(table) == 1 + len(published.TABLE_3)
    assert table[1] == ["Abubakar et al. 2022 [38]", "240", "GoogLeNet", "90", "not given"]


def test_a_quick_run_says_that_it_proves_nothing(wanted, tmp_path):
    finish_all(wanted[:1], tmp_path / "runs", SKILLS)
    again(tmp_path, wanted[:1], quick=True)
    text = page.write(tmp_path / "out").read_text()
    assert text.count("proves nothing") == 1 and page.PROVES_NOTHING in text


def test_the_page_follows_from_the_collected_files_alone(collected):
    text = page.write(collected / "out").read_text()
    drawing = (collected / "out" / "knees" / page.AREAS).read_bytes()
    shutil.rmtree(collected / "runs")
    (collected / "out" / page.PAGE).unlink()
    (collected / "out" / "knees" / page.AREAS).unlink()
    assert rebuild(collected / "out").read_text() == text
    assert (collected / "out" / "knees" / page.AREAS).read_bytes() == drawing
    assert not re.search(r"![^\[]", text)
    shown = " ".join(ElementTree.fromstring(drawing).itertext())
    assert "Small" in shown and "by radiograph" in shown and "random split" in shown
    assert len(drawing) < 100_000


def test_no_results_no_page(tmp_path):
    with pytest.raises(RunError, match="no results yet"):
        rebuild(tmp_path)
    with pytest.raises(RunError, match="no runs of knees"):
        rebuild(tmp_path, tmp_path / "knees", (), tmp_path / "runs")
