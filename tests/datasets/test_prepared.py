"""Prepared pictures in a file: the same as in memory, made anew when they are not whole."""

from __future__ import annotations

import json
import os
import stat
import time
from collections import namedtuple
from pathlib import Path

import numpy as np
import pytest

from kop_core.datasets import DataSet, feeding, prepared, scan
from kop_core.errors import DataSetError
from kop_core.radiographs.preparation import PREPARATIONS, at_side

SMALL = at_side(PREPARATIONS["stretch224"], 32)
ONE = 32 * 32 * 4  # bytes of a picture


@pytest.fixture(autouse=True)
def folder(tmp_path, monkeypatch) -> Path:
    monkeypatch.setenv("KOP_CACHE", str(tmp_path / "cache"))
    return tmp_path / "cache" / "prepared"


@pytest.fixture
def data(small_data) -> DataSet:
    """Thirty-five pictures and one that cannot be read."""
    bad = small_data / "Osteopenia" / "Osteopenia 3.png"
    bad.write_bytes(bad.read_bytes()[:200])
    return scan(small_data)


def load(data: DataSet, limit: int = 0, preparation=SMALL, progress=None) -> feeding.Pixels:
    return feeding.load(data, data.items, preparation, progress, memory_limit=limit)


def mapped(pixels: feeding.Pixels) -> bool:
    return isinstance(pixels.grey.base, np.memmap)


def assert_same(one: feeding.Pixels, other: feeding.Pixels) -> None:
    assert one.items == other.items and one.unreadable == other.unreadable
    np.testing.assert_array_equal(one.targets, other.targets)
    np.testing.assert_array_equal(one.grey, other.grey)


def forbid_reading(monkeypatch) -> None:
    monkeypatch.setattr(feeding, "read", lambda *_, **__: pytest.fail("read again"))


def test_pictures_from_the_file_are_those_in_memory(data, monkeypatch):
    in_memory = load(data, limit=36 * ONE)
    written = load(data, limit=36 * ONE - 1)
    assert not mapped(in_memory) and mapped(written)
    assert_same(in_memory, written)
    assert len(written.items) == 35 and written.unreadable[0][0] == "Osteopenia/Osteopenia 3.png"
    with pytest.raises(ValueError, match="read-only"):
        written.grey[0] = 0
    forbid_reading(monkeypatch)
    assert_same(in_memory, load(data))  # found again


def test_progress_is_told_while_they_are_written(data):
    steps = []
    load(data, progress=lambda *step: steps.append(step))
    assert steps == [(i, 36) for i in range(1, 37)]


def test_other_files_and_another_preparation_have_a_file_of_their_own(data, small_data, folder):
    load(data)
    larger = load(data, preparation=at_side(PREPARATIONS["stretch224"], 40))
    assert larger.grey.shape == (35, 40, 40)
    feeding.load(data, data.items[:5], SMALL, memory_limit=0)
    (small_data / "Normal" / "Normal 0.png").write_bytes(b"altered")
    assert len(load(scan(small_data)).items) == 34
    assert len(list(folder.glob("*.f32"))) == len(list(folder.glob("*.json"))) == 4


def test_a_name_does_not_count_only_what_is_in_the_file(data, small_data, monkeypatch):
    before = load(data)
    for path in small_data.rglob("*.png"):
        path.rename(path.with_name(path.name.replace(" ", "_")))
    forbid_reading(monkeypatch)
    after = load(scan(small_data))
    np.testing.assert_array_equal(before.grey, after.grey)
    assert after.unreadable[0][0] == "Osteopenia/Osteopenia_3.png"


def facts(files: object = 35, unreadable: object = ((26, "cut"),)) -> bytes:
    return json.dumps({"files": files, "unreadable": unreadable}).encode()


DAMAGED = {
    "truncated": ("f32", lambda b: b[:-1]),
    "cut to a whole number of pictures": ("f32", lambda b: b[: 10 * ONE]),
    "longer": ("f32", lambda b: b + b"\0"),
    "empty": ("f32", lambda b: b""),
    "gone": ("f32", None),
    "no facts": ("json", None),
    "half of the facts": ("json", lambda b: b[:10]),
    "no text": ("json", lambda b: b"\xff\xfe"),
    "a list": ("json", lambda b: b"[]"),
    "deep": ("json", lambda b: b"[" * 100_000),
    "fewer files": ("json", lambda b: facts(10)),
    "files without end": ("json", lambda b: facts(float("inf"))),
    "no number": ("json", lambda b: facts("many")),
    "nothing unreadable": ("json", lambda b: facts(unreadable=())),
    "unreadable outside": ("json", lambda b: facts(unreadable=[(36, "cut")])),
    "unreadable before": ("json", lambda b: facts(unreadable=[(-1, "cut")])),
    "unreadable twice": ("json", lambda b: facts(35, [(26, "cut"), (26, "cut")])),
    "unreadable nowhere": ("json", lambda b: facts(unreadable=[(float("inf"), "cut")])),
}


@pytest.mark.parametrize("how", DAMAGED)
def test_what_is_damaged_is_made_anew(data, folder, how):
    whole = load(data, limit=10**9)
    load(data)
    kind, alter = DAMAGED[how]
    (path,) = folder.glob(f"*.{kind}")
    if alter is None:
        path.unlink()
    else:
        path.write_bytes(alter(path.read_bytes()))
    assert_same(whole, load(data))
    assert len(list(folder.iterdir())) == 2


def test_facts_and_pictures_that_do_not_belong_together_are_made_anew(data, folder):
    """As fewer pictures and the facts of them would be, whole in themselves."""
    whole = load(data, limit=10**9)
    load(data)
    for path in folder.iterdir():
        path.write_bytes(facts(10, ()) if path.suffix == ".json" else bytes(10 * ONE))
    assert_same(whole, load(data))


def test_nothing_that_can_be_read_is_kept_as_nothing(small_data, folder, monkeypatch):
    for path in small_data.rglob("*.png"):
        path.write_bytes(path.read_bytes()[:100])
    data = scan(small_data)
    assert load(data).grey.shape == (0, 32, 32)
    forbid_reading(monkeypatch)
    found = load(data)
    assert found.items == () and len(found.unreadable) == 36


def test_only_the_owner_can_read_them(data, folder):
    before = os.umask(0)
    try:
        load(data)
    finally:
        os.umask(before)
    assert {stat.S_IMODE(p.stat().st_mode) for p in folder.iterdir()} == {0o600}
    assert stat.S_IMODE(folder.stat().st_mode) == 0o700


def test_too_little_space_is_a_named_error_before_anything_is_written(data, folder, monkeypatch):
    usage = namedtuple("usage", "total used free")
    monkeypatch.setattr("shutil.disk_usage", lambda _: usage(1, 1, 36 * ONE - 1))
    forbid_reading(monkeypatch)
    with pytest.raises(DataSetError, match=r"too little space.*KOP_CACHE") as raised:
        load(data)
    assert "36 prepared pictures" in str(raised.value) and str(folder) in str(raised.value)
    assert list(folder.iterdir()) == []


def test_a_disk_that_fills_up_is_a_named_error_and_leaves_nothing(data, folder, monkeypatch):
    class Full:
        def __init__(self, stream):
            self.stream = stream

        def __enter__(self):
            return self

        def __exit__(self, *_):
            self.stream.close()

        def write(self, content):
            if self.stream.tell() > 20 * ONE:
                raise OSError(28, "No space left on device")
            self.stream.write(content)

    opened = Path.open
    monkeypatch.setattr(
        Path, "open", lambda p, *a, **k: Full(opened(p, *a, **k)) if p.suffix == ".part"
        else opened(p, *a, **k),
    )  # fmt: skip
    with pytest.raises(DataSetError, match="No space left on device"):
        load(data)
    assert list(folder.iterdir()) == []


def test_a_folder_that_cannot_be_made_is_a_named_error(data, tmp_path):
    (tmp_path / "cache").write_text("a file")
    with pytest.raises(DataSetError, match="could not be written"):
        load(data)


def keep(name: str, limit: int | None = None) -> np.ndarray:
    """Keep one picture."""
    found, _ = prepared.keep(
        [name], SMALL, lambda: iter([np.zeros((32, 32), np.float32)]), [], limit
    )
    return found


def names(folder: Path) -> dict[str, Path]:
    return {name: folder / f"{prepared._key([name], SMALL)}.f32" for name in "abcd"}


def test_what_was_used_longest_ago_is_removed_above_the_limit(folder):
    of = names(folder)
    for age, name in enumerate("abc"):
        keep(name)
        os.utime(of[name], (1000 + age, 1000 + age))
    keep("a")  # used again: now b is the oldest
    held = keep("d", limit=3 * ONE)
    assert {n for n in of if of[n].exists()} == {"a", "c", "d"}
    assert {p.stem for p in folder.glob("*.json")} == {of[n].stem for n in "acd"}
    keep("b", limit=0)  # what is in use stays, whatever the limit
    assert [n for n in of if of[n].exists()] == ["b"]
    assert held.shape == (1, 32, 32) and not held.any()  # and what another one has mapped


def test_drafts_that_a_killed_process_left_are_removed(folder):
    keep("a")
    old, new = folder / "x.1.part", folder / "y.2.part"
    for draft in (old, new):
        draft.write_bytes(bytes(ONE))
    os.utime(old, (time.time() - 2 * 3600,) * 2)
    keep("b")
    assert not old.exists() and new.exists()  # somebody may be writing it
