"""What a process that KOP starts of its own code begins with."""

from __future__ import annotations

import os
import subprocess
import sys

from kop_core import child_process


def test_it_finds_this_code_from_any_folder(tmp_path, monkeypatch):
    monkeypatch.setenv("PYTHONPATH", str(tmp_path / "others"))
    found = child_process.environment()
    assert found["PYTHONPATH"].split(os.pathsep) == [
        str(child_process.CODE), str(tmp_path / "others"),
    ]  # fmt: skip
    said = subprocess.run(
        [sys.executable, "-c", "import kop_core; print(kop_core.__file__)"],
        cwd=tmp_path, env=found, capture_output=True, text=True, check=True,
    ).stdout  # fmt: skip
    assert said.strip() == str(child_process.CODE / "kop_core" / "__init__.py")
    monkeypatch.delenv("PYTHONPATH")
    assert child_process.environment()["PYTHONPATH"] == str(child_process.CODE)


def test_what_is_settled_holds_and_the_rest_only_where_nothing_is_said(monkeypatch):
    monkeypatch.setenv("KERAS_BACKEND", "torch")
    monkeypatch.setenv("OMP_NUM_THREADS", "3")
    monkeypatch.delenv("TF_NUM_INTRAOP_THREADS", raising=False)
    found = child_process.environment(
        settled={"KOP_RUNS": "/here"},
        unless_said={"OMP_NUM_THREADS": "1", "TF_NUM_INTRAOP_THREADS": "1"},
    )
    assert found["KERAS_BACKEND"] == "torch" and found["KOP_RUNS"] == "/here"
    assert found["OMP_NUM_THREADS"] == "3" and found["TF_NUM_INTRAOP_THREADS"] == "1"
    monkeypatch.delenv("KERAS_BACKEND")
    assert child_process.environment()["KERAS_BACKEND"] == "tensorflow"
