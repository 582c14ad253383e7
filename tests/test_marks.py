"""Marks: kept by the data, by several sessions at once, and never written over."""

from __future__ import annotations

import csv
import io
import json
import subprocess
import sys

import pytest

from kop_core import marks
from kop_core.datasets import scan
from kop_core.errors import MarkError
from kop_core.marks import Mark
from tests.conftest import ROOT

PRINT = "ab" * 32
OTHER = "cd" * 32


def mark(file="Normal/a.png", kind="mislabelled", **more) -> Mark:
    return Mark(file, more.pop("true", "healthy"), kind, **more)


def test_a_mark_is_found_again_changed_and_removed(tmp_path):
    kept = marks.put(PRINT, mark(note="  Cortex is thin. ", model="first"), tmp_path)
    assert kept.made and kept.note == "Cortex is thin."
    marks.put(PRINT, mark("Normal/b.png", "unsure"), tmp_path)
    found = marks.read(PRINT, tmp_path)
    assert [m.file for m in found.all] == ["Normal/a.png", "Normal/b.png"]
    assert found.of("Normal/a.png") == kept and found.of("c.png") is None
    assert found.counts() == {"mislabelled": 1, "unsure": 1} and not found.remarks
    marks.put(PRINT, mark(kind="unsure"), tmp_path)
    assert marks.read(PRINT, tmp_path).of("Normal/a.png").kind == "unsure"
    marks.remove(PRINT, "Normal/a.png", tmp_path)
    marks.remove(PRINT, "no such", tmp_path)
    assert [m.file for m in marks.read(PRINT, tmp_path).all] == ["Normal/b.png"]
    assert marks.read(OTHER, tmp_path) == marks.Marks()


def test_the_folder_is_the_users_and_not_the_codes(monkeypatch, tmp_path):
    monkeypatch.setenv("KOP_MARKS", str(tmp_path / "mine"))
    assert marks.folder() == tmp_path / "mine"
    monkeypatch.delenv("KOP_MARKS")
    monkeypatch.setenv("XDG_DATA_HOME", str(tmp_path))
    assert marks.folder() == tmp_path / "kop" / "marks"


MARKING = """
import sys
from pathlib import Path
from kop_core import marks
for i in range(25):
    mark = marks.Mark(f"{{sys.argv[2]}}{{i}}.png", "healthy", "unsure")
    marks.put({print!r}, mark, Path(sys.argv[1]))
"""


def test_two_sessions_at_once_lose_no_mark(tmp_path):
    code = MARKING.format(print=PRINT)
    sessions = [
        subprocess.Popen([sys.executable, "-c", code, str(tmp_path), name], cwd=ROOT)
        for name in ("a", "b")
    ]
    assert [s.wait(60) for s in sessions] == [0, 0]
    found = marks.read(PRINT, tmp_path).all
    assert {m.file for m in found} == {f"{n}{i}.png" for n in "ab" for i in range(25)}
    assert not list(tmp_path.glob("*.part"))


@pytest.mark.parametrize(
    "content",
    ["", "{", "[]", '{"format": 2, "marks": []}', '{"format": 1, "marks": [{"file": "a"}]}',
     '{"format": 1, "marks": [{"file": "a", "true": "healthy", "kind": "odd"}]}',
     '{"format": 1, "marks": [{"file": "a", "true": 3, "kind": "unsure"}]}', b"\xff\xfe",
     '{"format": 1, "marks": [{"file": "a", "true": "fracture", "kind": "unsure"}]}'],
)  # fmt: skip
def test_a_damaged_file_is_said_and_set_aside(tmp_path, content):
    path = tmp_path / f"{PRINT}.json"
    path.write_bytes(content if isinstance(content, bytes) else content.encode())
    found = marks.read(PRINT, tmp_path)
    assert not found.all
    (aside,) = tmp_path.glob("*.damaged-*.json")
    assert str(aside) in found.remarks[0]
    marks.put(PRINT, mark(), tmp_path)
    again = marks.read(PRINT, tmp_path)
    assert len(again.all) == 1 and again.remarks == found.remarks
    assert aside.read_bytes() == (content if isinstance(content, bytes) else content.encode())
    aside.unlink()
    assert not marks.read(PRINT, tmp_path).remarks


def test_what_cannot_be_kept_is_said(tmp_path):
    with pytest.raises(MarkError, match="at most 500"):
        mark(note="x" * 501)
    with pytest.raises(MarkError, match="no mark 'wrong'"):
        mark(kind="wrong")
    for fingerprint in ("../../etc/passwd", "", None, "AB" * 32):
        with pytest.raises(MarkError, match="fingerprint"):
            marks.put(fingerprint, mark(), tmp_path)
    (tmp_path / "file").write_text("")
    with pytest.raises(MarkError, match="cannot be written"):
        marks.put(PRINT, mark(), tmp_path / "file" / "below")


def test_an_export_is_safe_in_a_spreadsheet():
    text = marks.to_csv([mark("=a.png", note='-1+1, "quoted"\nand more')])
    (row,) = csv.DictReader(io.StringIO(text))
    assert row["file"] == "'=a.png" and row["note"] == '\'-1+1, "quoted"\nand more'
    assert row["kind"] == "mislabelled"


def test_the_marked_files_of_a_data_set_and_their_copies(small_data, tmp_path):
    """A mark holds for a copy under the same class, and under other data if its bytes are known."""
    normal = sorted((small_data / "Normal").iterdir())
    (small_data / "Normal" / "copy.png").write_bytes(normal[0].read_bytes())
    (small_data / "Osteopenia" / "conflict.png").write_bytes(normal[0].read_bytes())
    data = scan(small_data)
    digest = next(i.sha256 for i in data.items if i.file == f"Normal/{normal[0].name}")
    root = tmp_path / "marks"
    marks.put(data.fingerprint, mark(f"Normal/{normal[0].name}"), root)
    marks.put(data.fingerprint, mark(f"Normal/{normal[1].name}", "unsure"), root)
    found = marks.of_data(data, root=root)
    assert found == {
        f"Normal/{normal[0].name}": "mislabelled",
        f"Normal/{normal[1].name}": "unsure",
        "Normal/copy.png": "mislabelled",
    }
    assert marks.of_data(data, ["unsure"], root) == {f"Normal/{normal[1].name}": "unsure"}
    (small_data / "Normal" / "copy.png").unlink()
    changed = scan(small_data)
    assert marks.of_data(changed, root=root) == {}  # the marks do not know the bytes
    marks.put(data.fingerprint, mark(f"Normal/{normal[0].name}", sha256=digest), root)
    assert marks.of_data(changed, root=root) == {f"Normal/{normal[0].name}": "mislabelled"}


def test_what_is_on_disk_is_plain(tmp_path):
    marks.put(PRINT, mark(note="dünn"), tmp_path)
    kept = json.loads((tmp_path / f"{PRINT}.json").read_text("utf-8"))
    assert kept["format"] == 1 and kept["marks"][0]["note"] == "dünn"
