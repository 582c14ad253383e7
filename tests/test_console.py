"""What the commands share: a line of progress, files that are written."""

from __future__ import annotations

import io
import sys

import pytest

from kop_core.commands import console
from kop_core.errors import KopError
from kop_core.training import Progress


class Terminal(io.StringIO):
    def isatty(self) -> bool:
        return True


@pytest.fixture
def clock(monkeypatch):
    """Seconds, as a list of one number that a test may change."""
    now = [100.0]
    monkeypatch.setattr(console.time, "monotonic", lambda: now[0])
    return now


def test_a_line_of_a_terminal_is_rewritten_five_times_a_second_at_most(monkeypatch, clock):
    monkeypatch.setattr(sys, "stderr", Terminal())
    line = console.StageLine("looking: ")
    line("reading", 1, 2000)
    assert sys.stderr.getvalue() == ""
    for done in range(1000, 1100):
        clock[0] += 0.02
        line("reading", done, 2000, 75.0)
    shown = sys.stderr.getvalue().split("\r\x1b[K")[1:]
    assert 9 <= len(shown) <= 10
    assert all(text.startswith("looking: reading 1,0") for text in shown)
    assert all(text.endswith("left") for text in shown)  # no line break
    line.close()
    assert sys.stderr.getvalue().endswith("left\r\x1b[K")


def test_a_log_has_a_line_now_and_then_and_nothing_to_steer_a_terminal(monkeypatch, clock):
    monkeypatch.setattr(sys, "stderr", io.StringIO())
    line = console.StageLine()
    for done in range(1, 26):
        clock[0] += 1
        line("comparing", done, 25)
    line.close()
    assert sys.stderr.getvalue() == "comparing 10/25\ncomparing 20/25\n"


def test_a_run_in_a_log_has_its_first_line_at_once_and_every_epoch(monkeypatch, clock):
    monkeypatch.setattr(sys, "stderr", io.StringIO())
    line = console.ProgressLine()
    for done in range(5):
        line(Progress("training", done, 5, 1, 2, None, {}))
        clock[0] += 1
    line(Progress("epoch", 5, 5, 1, 2, None, {"loss": 0.5}))
    clock[0] += 31
    line(Progress("training", 1, 5, 2, 2, None, {}))
    assert sys.stderr.getvalue().splitlines() == [
        "epoch 1/2  step 0/5",
        "epoch 1/2  loss 0.500",
        "epoch 2/2  step 1/5",
    ]


def test_an_epoch_stays_on_a_terminal(monkeypatch, clock):
    monkeypatch.setattr(sys, "stderr", Terminal())
    console.ProgressLine()(Progress("epoch", 5, 5, 1, 2, None, {}))
    assert sys.stderr.getvalue() == "\r\x1b[Kepoch 1/2\n"


@pytest.mark.parametrize("content", ["a\r\nü", b"\x89PNG"])
def test_a_file_is_written_as_it_is_or_the_reason_is_said(tmp_path, content):
    file = tmp_path / "file"
    console.write_file(file, content)
    assert file.read_bytes() == (content.encode() if isinstance(content, str) else content)
    with pytest.raises(KopError, match=r"no-such.* cannot be written: No such file"):
        console.write_file(tmp_path / "no-such" / "file", content)
