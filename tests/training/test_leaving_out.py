"""Files that a reader marked are in no part of a run, and the card says so."""

from __future__ import annotations

import json
from dataclasses import replace

import pytest

from kop_core import marks
from kop_core.datasets import Split, scan
from kop_core.errors import DataSetError, RunError
from kop_core.evaluation import Predictions
from kop_core.evaluation.model_card import sections
from kop_core.training import TrainingConfig, resume, runs, train
from kop_core.training.leaving_out import count_marked, said_of_marked
from kop_core.training.run_folder import RunFolder
from kop_core.training.setting_up import RECOMMENDED, divide, preset_of
from kop_core.training.trainer import split_of
from tests.training.test_command import SMALL, run
from tests.training.test_trainer import CONFIG, Interrupted, kill_after_an_epoch

OUT = {"Normal/Normal 1.png": "mislabelled", "Osteopenia/Osteopenia 2.png": "unsure"}


@pytest.mark.parametrize("more", [{"split": "random"}, {"split": "radiograph"},
                                  {"validation_share": 0.3}, {"folds": 3, "fold": 2}])  # fmt: skip
def test_they_are_in_no_part(small_data, more):
    data = scan(small_data)
    split = split_of(data, replace(CONFIG, **{"split": "radiograph", **more}, leave_out=OUT))
    assert {i.file for i in split.left_out} == set(OUT)
    parts = split.training + split.validation + split.test
    assert len(parts) == 34 and not {i.file for i in parts} & set(OUT)
    assert len(split.items) == len(data.items)


def test_settings_with_them_are_kept_and_older_ones_read():
    config = TrainingConfig(leave_out=OUT)
    assert TrainingConfig.from_config(json.loads(json.dumps(config.get_config()))) == config
    older = TrainingConfig().get_config()
    del older["leave_out"]
    assert TrainingConfig.from_config(older).leave_out == {}
    for wrong in ([], {"a": 1}, {1: "a"}, "a"):
        with pytest.raises(RunError, match="leave_out"):
            TrainingConfig(leave_out=wrong)
    assert preset_of(replace(RECOMMENDED, leave_out=OUT)) == "recommended"


def test_all_of_a_class_cannot_be_left_out(small_data):
    data = scan(small_data)
    out = {i.file: "unsure" for i in data.items if i.true == "osteopenia"}
    with pytest.raises(DataSetError, match="osteopenia"):
        split_of(data, replace(CONFIG, split="radiograph", leave_out=out))


def test_what_is_said(small_data):
    data = scan(small_data)
    assert count_marked(data, {**OUT, "gone.png": "unsure"}) == {"mislabelled": 1, "unsure": 1}
    assert said_of_marked({}) == said_of_marked({"left_out_marked": {}}) == []
    (said,) = said_of_marked({"left_out_marked": {"mislabelled": 3}})
    assert said.startswith(
        "3 files that a reader had marked as mislabelled were left out of training and test."
    )
    (said,) = said_of_marked({"left_out_marked": {"mislabelled": 1, "unsure": 1}})
    assert "2 files that a reader had marked 1 as mislabelled and 1 as unsure were" in said
    parts = divide(data, replace(CONFIG, leave_out=OUT))
    assert parts.left_out.files == 2


def test_a_run_goes_on_without_them_whatever_becomes_of_the_marks(
    small_data, small_network, tmp_path, monkeypatch
):
    """And the card says so; the fingerprint stays that of the data."""
    monkeypatch.setenv("KOP_MARKS", str(tmp_path / "marks"))
    data = scan(small_data)
    for file, kind in OUT.items():
        true = next(i.true for i in data.items if i.file == file)
        marks.put(data.fingerprint, marks.Mark(file, true, kind))
    config = replace(CONFIG, epochs=2, leave_out=marks.of_data(data))
    assert config.leave_out == OUT
    with pytest.raises(Interrupted):
        train(config, small_data, tmp_path / "run", kill_after_an_epoch)
    marks.remove(data.fingerprint, "Normal/Normal 1.png")
    found = RunFolder(resume(tmp_path / "run"))
    record, card = found.read_record(), json.loads(found.card.read_text())
    assert record["data"]["fingerprint"] == data.fingerprint == card["data"]["fingerprint"]
    assert record["data"]["left_out_marked"] == {"mislabelled": 1, "unsure": 1}
    assert record["config"]["leave_out"] == OUT
    assert not set(Predictions.read(found.predictions).files) & set(OUT)
    split = Split.read(found.split, "random", 3)
    assert {i.file for i in split.left_out} == set(OUT) and len(split.training) == 27
    assert "2 files that a reader had marked" in " ".join(card["statements"])
    texts = [item.text for section in sections(card) for item in section.items if item.known]
    assert "2 were left out of both parts, because a reader had marked them." in " ".join(texts)


def test_the_command_line_takes_the_marks_when_the_run_is_set_up(
    small_data, small_network, tmp_path, monkeypatch, capsys
):
    monkeypatch.setenv("KOP_MARKS", str(tmp_path / "marks"))
    monkeypatch.setenv("KOP_RUNS", str(tmp_path / "runs"))
    started = []
    monkeypatch.setattr(runs, "start", started.append)
    data = scan(small_data)
    marks.put(data.fingerprint, marks.Mark("Normal/Normal 1.png", "healthy", "mislabelled"))
    marks.put(data.fingerprint, marks.Mark("Normal/Normal 2.png", "healthy", "unsure"))
    run("--data", small_data, "--queue", *SMALL, "--leave-out-marked", "mislabelled")
    run("--data", small_data, "--queue", *SMALL, "--leave-out-marked", "unsure", "mislabelled")
    one, both = (runs.get(r.id).config.leave_out for r in started)
    assert one == {"Normal/Normal 1.png": "mislabelled"}
    assert both == {**one, "Normal/Normal 2.png": "unsure"}
    with pytest.raises(RunError, match="when a run begins"):
        run("--resume", started[0].folder, "--leave-out-marked", "unsure")
