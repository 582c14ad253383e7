"""A disk that fills up while a run is at work: a small one, in memory."""

from __future__ import annotations

import os
import shutil
import signal
import subprocess
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from kop_core.evaluation import Predictions
from kop_core.training import runs, train
from kop_core.training.run_folder import RunFolder
from tests.conftest import missing
from tests.training.test_worker import CONFIG, again, command, ended, until


@pytest.fixture
def disk(tmp_path) -> Iterator[Path]:
    """A disk of two megabytes."""
    place = tmp_path / "disk"
    place.mkdir()
    mount = ["mount", "-t", "tmpfs", "-o", "size=2m", "tmpfs", str(place)]
    if shutil.which("mount") is None or subprocess.run(mount, capture_output=True).returncode:
        missing("needs the right to mount a small disk in memory (on Linux: root)")
    yield place
    for run in runs.list_runs(place):
        if run.alive and run.progress["pid"]:
            os.kill(run.progress["pid"], signal.SIGKILL)
    subprocess.run(["umount", "-l", str(place)], check=True)


def fill(disk: Path) -> Path:
    """Leave not a byte on a disk; return what takes it."""
    file = disk / "somebody's film"
    with file.open("wb", buffering=0) as stream:
        try:
            while True:
                stream.write(b"\0" * 4096)
        except OSError:
            return file


def test_a_full_disk_leaves_the_last_checkpoint_and_says_what_to_do(
    disk, small_data, small_network, tmp_path
):
    config = replace(CONFIG, epochs=6)
    run = runs.create(config, small_data, root=disk)
    runs.start(run, command=command(run, "--pause", "0.25"))
    until(run, lambda r: r.epoch == 2 and r.progress["stage"] == "training")
    film = fill(disk)
    whole = RunFolder(train(config, small_data, tmp_path / "whole"))
    found = until(run, ended)
    assert found.state == "failed"
    assert "could not be written (No space left on device)" in found.message
    assert "Free some space" in found.message and "resume the run" in found.message
    paths = RunFolder(run.folder)
    epoch, weights, _ = paths.read_checkpoint()
    assert 2 <= epoch < config.epochs and weights
    assert [row["epoch"] for row in paths.read_history()][:epoch] == list(range(1, epoch + 1))
    film.unlink()
    runs.resume(again(run), command=command(run))
    assert until(run, ended).state == "finished"
    np.testing.assert_allclose(
        Predictions.read(whole.predictions).probabilities,
        Predictions.read(paths.predictions).probabilities,
        atol=1e-4,
    )
