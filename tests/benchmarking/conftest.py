"""A whole benchmark in small: generated pictures, tiny networks, two epochs."""

from __future__ import annotations

from dataclasses import dataclass, replace
from pathlib import Path

import pytest

from kop_core.benchmarking import RECIPE, Series, benchmark, plan
from tests.conftest import make_data, make_small_network, write_radiographs

TINY = replace(
    RECIPE, epochs=2, batch_size=8, learning_rate=0.02, warmup_epochs=0, precision="float32"
)


@pytest.fixture(scope="package")
def tiny_networks():
    """Register a network that trains in a moment, and such a one in place of the paper's."""
    from kop_core.networks import registry

    small = make_small_network()
    with pytest.MonkeyPatch.context() as patch:
        patch.setitem(registry._NETWORKS, "small", small)
        patch.setitem(registry._NETWORKS, "paper", replace(small, name="paper", title="Paper's"))
        yield


@dataclass(frozen=True)
class Whole:
    """A finished benchmark: its data, what was wanted, its runs, and the folder of its page."""

    data: Path
    wanted: tuple[Series, ...]
    runs: Path
    out: Path


@pytest.fixture(scope="package")
def whole(tmp_path_factory, tiny_networks) -> Whole:
    """A benchmark that has finished; tests must not alter it."""
    folder = tmp_path_factory.mktemp("benchmark")
    data = write_radiographs(make_data(folder / "knees", 8))
    wanted = plan(["paper", "small"], ["radiograph"], 2, recipe=TINY)
    found = Whole(data, wanted, folder / "runs", folder / "page")
    benchmark(data, wanted, found.out, found.runs)
    return found
