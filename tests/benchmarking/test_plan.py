"""What a benchmark runs."""

from __future__ import annotations

from dataclasses import replace

import pytest

from kop_core import networks
from kop_core.benchmarking import RECIPE, for_epochs, plan, quick_plan
from kop_core.benchmarking.planning import QUICK_NETWORKS, entrant, settings_of
from kop_core.datasets import make_split, scan
from kop_core.errors import RunError, UnknownNetwork
from kop_core.training import TrainingConfig
from tests.conftest import make_data, write_radiographs


@pytest.mark.usefixtures("tiny_networks")
def test_every_network_has_the_same_folds_and_the_same_budget():
    found = plan(["paper", "small"], ["radiograph", "random"], 3, 2, seed=7)
    # stopped early, it has something of all
    assert [s.key for s in found] == [
        (arm, name, repeat)
        for repeat in (1, 2)
        for arm in ("radiograph", "random")
        for name in ("paper", "small")
    ]
    assert [job.config.fold for job in found[0].jobs] == [1, 2, 3]
    assert {job.config.seed for s in found for job in s.jobs if s.repeat == 2} == {8}
    names = [job.name for s in found for job in s.jobs]
    assert len(set(names)) == len(names) == 2 * 2 * 2 * 3
    own = {"network", "options", "pretrained", "head_epochs", "backbone_rate"}
    shared = [{k: v for k, v in s.settings.items() if k not in own} for s in found[:2]]
    assert shared[0] == shared[1]


@pytest.mark.usefixtures("tiny_networks")
def test_a_repeat_tests_every_file_once(tmp_path):
    data = scan(write_radiographs(make_data(tmp_path / "data", 8)))
    for series in plan(["small"], ["radiograph", "random"], 3, 2):
        tested = [
            item.file
            for job in series.jobs
            for item in make_split(
                data, job.config.split, 0.2, job.config.seed, "keep", job.config.fold, 3
            ).test
        ]
        assert sorted(tested) == sorted(item.file for item in data.items)


def test_all_registered_networks_can_be_planned():
    found = plan(networks.names())
    assert {s.network for s in found} == set(networks.names())
    for series in found:
        assert series.jobs[0].config.options.keys() <= networks.get(series.network).options.keys()
        assert TrainingConfig.from_config(series.jobs[0].config.get_config())


def test_a_network_takes_part_in_several_ways():
    names = [
        "efficientnet_lite0", "efficientnet_lite0+fresh", "efficientnet_lite0+knees+joints",
        "paper+joints",
    ]  # fmt: skip
    found = plan(names, ["radiograph"])
    assert [s.network for s in found] == names
    settings = [s.settings for s in found]
    assert [s["network"] for s in settings] == ["efficientnet_lite0"] * 3 + ["paper"]
    assert [s["pretrained"] for s in settings] == ["imagenet", None, "knees", None]
    assert [s["view"] for s in settings] == ["whole", "whole", "joints", "joints"]
    assert len({job.name for s in found for job in s.jobs}) == 4 * 5
    assert [entrant(name).title for name in names] == [
        "EfficientNet-Lite0", "EfficientNet-Lite0 + fresh", "EfficientNet-Lite0 + knees + joints",
        f"{networks.get('paper').title} + joints",
    ]  # fmt: skip
    assert entrant("gone+joints").title == "gone + joints"


def test_the_recipe_in_other_lengths():
    assert for_epochs(RECIPE, 30) == RECIPE
    assert for_epochs(RECIPE, 1).warmup_epochs == 0
    assert for_epochs(RECIPE, 10).warmup_epochs == 1
    with pytest.raises(RunError, match="at least 1"):
        for_epochs(RECIPE, 0)


def test_what_tells_a_series_from_another():
    config = replace(RECIPE, fold=1, folds=5)
    assert settings_of(config) == settings_of(replace(config, fold=2, precision="float32"))
    assert settings_of(config) != settings_of(replace(config, seed=5))


def test_a_quick_plan_is_small():
    found = quick_plan(None, ("radiograph",), "keep")
    assert [s.network for s in found] == [n for n in QUICK_NETWORKS if n in networks.names()]
    for series in found:
        assert len(series.jobs) == 2 and series.settings["epochs"] == 1
        smallest, largest = networks.get(series.network).sizes
        assert smallest <= series.settings["size"] <= min(128, largest)


@pytest.mark.parametrize(
    ("given", "error", "says"),
    [
        ({"names": []}, RunError, "at least one network"),
        ({"names": ["paper", "paper"]}, RunError, "named twice"),
        ({"names": ["paper", "paper+fresh"]}, RunError, "are the same network, begun in the same"),
        (
            {"names": ["efficientnet_lite0+knees+joints", "efficientnet_lite0+joints+knees"]},
            RunError,
            "are the same network",
        ),
        ({"names": ["resnet9000"]}, UnknownNetwork, "Known: paper"),
        ({"names": ["paper+hands"]}, RunError, "does not say how a network takes part"),
        ({"names": ["paper+fresh+knees"]}, RunError, "does not say how a network takes part"),
        ({"names": ["paper+joints+joints"]}, RunError, "does not say how a network takes part"),
        ({"names": ["paper+knees"]}, RunError, "no encoder of the network paper"),
        ({"splits": []}, RunError, "at least one split"),
        ({"repeats": 0}, RunError, "at least 1 repeat"),
        ({"folds": 1}, RunError, "at least 2 folds"),
        ({"folds": 0}, RunError, "at least 2 folds"),
        ({"size": 16}, RunError, "takes pictures of"),
        ({"seed": -1}, RunError, "seed"),
    ],
)
def test_plans_that_make_no_sense_are_named(given, error, says):
    with pytest.raises(error, match=says):
        plan(**{"names": ["paper"], **given})


def test_a_folder_of_weights_that_is_not_there(tmp_path):
    with pytest.raises(RunError, match=r"no folder .*nowhere of weights"):
        plan(["paper"], weights=tmp_path / "nowhere")
