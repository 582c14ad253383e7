"""Logs of a run, read back by TensorBoard itself."""

from __future__ import annotations

import subprocess
import sys
from itertools import pairwise
from pathlib import Path

import pytest

from kop_core.errors import ExportError
from kop_core.exchange.tensorboard import write_tensorboard

ROOT = Path(__file__).resolve().parent.parent.parent
HISTORY = (
    "epoch,accuracy,loss,val_accuracy,val_loss,learning_rate,seconds,val_macro_f1\n"
    "1,0.5,1.25,0.375,1.5,0.001,100,0.25\n"
    "2,0.625,1,0.5,nan,0.0005,50,0.375\n"
    "3,0.75,0.75,0.5,1,0.0001,60,0.5\n"
)


@pytest.fixture
def run(tmp_path) -> Path:
    folder = tmp_path / "run"
    folder.mkdir()
    (folder / "history.csv").write_text(HISTORY)
    return folder


def read(folder: Path):
    from tensorboard.backend.event_processing.event_accumulator import EventAccumulator

    return EventAccumulator(str(folder)).Reload()


def test_tensorboard_reads_what_the_history_says(run, tmp_path):
    files = write_tensorboard(run, tmp_path / "logs")
    assert {f.parent.name for f in files} == {"training", "validation"}
    training, validation = (read(tmp_path / "logs" / n) for n in ("training", "validation"))
    assert set(training.Tags()["scalars"]) == {"accuracy", "loss", "learning_rate"}
    assert set(validation.Tags()["scalars"]) == {"accuracy", "loss", "macro_f1"}
    assert [(e.step, e.value) for e in training.Scalars("accuracy")] == [
        (1, 0.5), (2, 0.625), (3, 0.75),
    ]  # fmt: skip
    rates = [e.value for e in training.Scalars("learning_rate")]
    assert rates == pytest.approx([0.001, 0.0005, 0.0001], rel=1e-6)
    assert [e.value for e in validation.Scalars("macro_f1")] == [0.25, 0.375, 0.5]
    losses = [e.value for e in validation.Scalars("loss")]
    assert losses[0] == 1.5 and losses[1] != losses[1] and losses[2] == 1


def test_epochs_are_as_far_apart_as_they_took(run, tmp_path):
    write_tensorboard(run, tmp_path / "logs")
    times = [e.wall_time for e in read(tmp_path / "logs/training").Scalars("loss")]
    assert times[-1] == pytest.approx((run / "history.csv").stat().st_mtime, abs=1)
    assert [b - a for a, b in pairwise(times)] == pytest.approx([50, 60], abs=1e-3)


def test_a_later_export_takes_the_place_of_an_earlier_one(run, tmp_path):
    import os

    write_tensorboard(run, tmp_path / "logs")
    other = tmp_path / "logs" / "training" / "events.out.tfevents.1.mine"
    other.write_bytes(b"")
    os.utime(run / "history.csv", (2e9, 2e9))
    files = write_tensorboard(run, tmp_path / "logs")
    found = set((tmp_path / "logs").rglob("events*"))
    assert found == {*files, other}


def test_the_shipped_model_has_logs_too(shipped, tmp_path):
    write_tensorboard(shipped.folder, tmp_path)
    assert len(read(tmp_path / "validation").Scalars("accuracy")) == 30


def test_no_tensorflow_is_imported(run, tmp_path):
    code = (
        "import sys\n"
        "from kop_core.exchange.tensorboard import write_tensorboard\n"
        f"write_tensorboard({str(run)!r}, {str(tmp_path / 'logs')!r})\n"
        "assert not {'tensorflow', 'keras'} & set(sys.modules)"
    )
    done = subprocess.run([sys.executable, "-c", code], cwd=ROOT, capture_output=True, text=True)
    assert done.returncode == 0, done.stderr[-2000:]


@pytest.mark.parametrize(
    ("history", "says"),
    [
        (None, "no whole epoch"),
        (HISTORY.splitlines()[0], "no whole epoch"),
        ("epoch,loss\n1,high\n", "damaged"),
        ("epoch,loss\n1,0.5,7\n", "damaged"),
        ("loss\n1\n", "damaged"),
        ("epoch,loss\nnan,1\n", "damaged"),
        ("epoch,loss\n1," + 200_000 * "0" + "\n", "damaged"),
    ],
)
def test_a_run_without_a_history_is_said(run, tmp_path, history, says):
    if history is None:
        (run / "history.csv").unlink()
    else:
        (run / "history.csv").write_text(history)
    with pytest.raises(ExportError, match=says):
        write_tensorboard(run, tmp_path / "logs")
    assert not (tmp_path / "logs").exists()


def test_a_folder_that_cannot_be_written_is_said(run, tmp_path):
    (tmp_path / "logs").write_text("a file")
    with pytest.raises(ExportError, match="cannot be written"):
        write_tensorboard(run, tmp_path / "logs")


def test_a_missing_package_is_said(run, tmp_path, monkeypatch):
    monkeypatch.setitem(sys.modules, "tensorboard.summary.writer.record_writer", None)
    with pytest.raises(ExportError, match="package tensorboard"):
        write_tensorboard(run, tmp_path / "logs")
