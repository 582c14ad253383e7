"""``python -m kop_core train``: its options reach the run."""

from __future__ import annotations

import argparse

import pytest

from kop_core.commands import train as command
from kop_core.errors import RunError
from kop_core.training import TrainingConfig
from kop_core.training.run_folder import RunFolder, write_json


def run(*arguments) -> int:
    parser = argparse.ArgumentParser()
    command.add(parser.add_subparsers())
    options = parser.parse_args(["train", *map(str, arguments)])
    return options.run(options)


SMALL = ("--network", "small", "--epochs", 1, "--precision", "float32", "--batch", 8)


def test_split_and_other_options_reach_the_run(small_data, small_network, tmp_path, capsys):
    out = tmp_path / "run"
    wanted = ("--split", "radiograph", "--folds", 3, "--fold", 2, "--conflicts", "drop",
              "--dropout", 0.25, "--warmup", 0.5, "--seed", 4)  # fmt: skip
    assert run("--data", small_data, "--out", out, *SMALL, *wanted) == 0
    record = RunFolder(out).read_record()
    config = record["config"]
    assert (config["split"], config["folds"], config["fold"]) == ("radiograph", 3, 2)
    assert config["conflicts"] == "drop" and config["warmup_epochs"] == 0.5
    assert config["options"] == {"batch_norm_momentum": 0.9, "dropout": 0.25}
    assert record["split"]["fold"] == 2 and record["split"]["same_radiograph"] == 0
    assert "No picture of a test radiograph was in training." in capsys.readouterr().out
    # the same settings may be named again, others may not
    assert run("--resume", out, *wanted) == 0
    with pytest.raises(RunError, match="split 'radiograph'"):
        run("--resume", out, "--split", "random")
    with pytest.raises(RunError, match="options"):
        run("--resume", out, "--dropout", 0.5)


def test_a_run_may_be_resumed_with_the_options_it_was_started_with(tmp_path):
    """Of a network that has no batch normalisation."""
    config = TrainingConfig(network="vgg16", options={"dropout": 0.3})
    write_json(RunFolder(tmp_path).record, {"config": config.get_config(), "data": {}})
    options = argparse.Namespace(out=None, resume=tmp_path)
    chosen = {"options": {**TrainingConfig().options, "dropout": 0.3}}
    command._check_same(options, chosen)
    chosen["options"]["dropout"] = 0.5
    with pytest.raises(RunError, match=r"options \{'dropout': 0.3\}"):
        command._check_same(options, chosen)


def test_by_radiograph_is_the_default(small_data, small_network, tmp_path):
    run("--data", small_data, "--out", tmp_path / "run", *SMALL)
    assert RunFolder(tmp_path / "run").read_record()["split"]["protocol"] == "radiograph"


def test_a_run_of_the_first_kop_is_a_random_one(small_data, small_network, tmp_path):
    out = tmp_path / "run"
    run("--data", small_data, "--out", out, *SMALL, "--split", "random", "--test-share", 0.4)
    record = RunFolder(out).read_record()
    for name in ("split", "conflicts", "folds", "fold", "warmup_epochs"):
        del record["config"][name]
    write_json(RunFolder(out).record, record)
    assert run("--resume", out, "--split", "random") == 0
    with pytest.raises(RunError, match="split 'random'"):
        run("--resume", out, "--split", "radiograph")


@pytest.mark.parametrize(
    ("options", "says"),
    [
        (("--dropout", 1.0), "below 1"),
        (("--folds", 3), "both its number"),
        (("--folds", 3, "--fold", 4), "between 1 and 3"),
        (("--warmup", 1), "fewer than the run has"),
        (("--test-share", 0), "between 0 and 1"),
    ],
)
def test_options_out_of_range_are_named(small_data, small_network, tmp_path, options, says):
    with pytest.raises(RunError, match=says):
        run("--data", small_data, "--out", tmp_path / "run", *SMALL, *options)
    assert not (tmp_path / "run").exists()
