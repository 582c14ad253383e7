"""Batches shared by two logical processors: the result is that of one."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest

from kop_core.errors import RunError
from kop_core.training import TrainingConfig, train
from kop_core.training.run_folder import RunFolder
from tests.training import mirrored_process

ROOT = Path(__file__).resolve().parent.parent.parent


def trained(folder: Path, data: Path, network: str, replicas: int) -> RunFolder:
    """Train in a process that has two logical processors."""
    asked = json.dumps([str(folder), str(data), network, replicas])
    done = subprocess.run(
        [sys.executable, "-m", "tests.training.mirrored_process", asked],
        cwd=ROOT, capture_output=True, text=True, timeout=240,
    )  # fmt: skip
    assert done.returncode == 0, done.stderr[-3000:]
    return RunFolder(folder)


# 29 training pictures in batches of 8: the last has 5, which two cannot share evenly.
@pytest.mark.parametrize("network", ["plain", "normalised"])
def test_two_processors_learn_what_one_does(network, small_data, tmp_path):
    one, two = (trained(tmp_path / str(n), small_data, network, n) for n in (1, 2))
    for a, b in zip(one.read_history(), two.read_history()):
        del a["seconds"], b["seconds"]
        assert a == pytest.approx(b, rel=2e-4, abs=2e-5)
    first, second = one.read_checkpoint(), two.read_checkpoint()
    assert first[0] == second[0] == mirrored_process.EPOCHS
    for kind in (1, 2):
        for a, b in zip(first[kind], second[kind]):
            np.testing.assert_allclose(a, b, rtol=1e-3, atol=1e-4)
    assert one.predictions.read_text().count("\n") == two.predictions.read_text().count("\n")


def test_the_papers_kind_of_network_with_dropout_is_shared_too(small_data, tmp_path):
    run = trained(tmp_path / "run", small_data, "dropped", 2)
    assert len(run.read_history()) == mirrored_process.EPOCHS
    assert np.isfinite([row["loss"] for row in run.read_history()]).all()
    assert json.loads(run.card.read_text())["training"]["config"]["replicas"] == 2


def test_more_processors_than_there_are_is_named(small_data, small_network, tmp_path):
    config = TrainingConfig(network="small", epochs=1, batch_size=8, options={}, replicas=4)
    with pytest.raises(RunError, match=r"4 GPUs, and this machine has no GPU"):
        train(config, small_data, tmp_path / "run")
