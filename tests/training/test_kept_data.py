"""Archives dropped to train on: unpacked once, safely, and kept as long as a run needs them."""

from __future__ import annotations

import io
import json
import os
import shutil
import time
import zipfile
from collections import namedtuple
from pathlib import Path

import pytest

from kop_core.datasets import scan
from kop_core.errors import DataSetError, RunError
from kop_core.training import TrainingConfig, kept_data, runs
from tests.datasets.test_archives import packed, picture

CONFIG = TrainingConfig(network="small", epochs=1, options={})
KNEES = {f"{name}/{i}.png": picture(8 + i) for name in ("Normal", "Osteopenia") for i in range(2)}
LONG_AGO = (time.time() - 2 * kept_data.SPARED,) * 2


@pytest.fixture
def root(tmp_path) -> Path:
    return tmp_path / "runs"


def drop(root: Path, name: str = "knees.zip", members: dict | None = None, **more):
    return kept_data.keep(io.BytesIO(packed(members or KNEES)), name, root, **more)


def inside(root: Path) -> list[str]:
    """What lies where archives are kept, but for what those who look left."""
    return sorted(p.name for p in kept_data.folder(root).iterdir())


def written(root: Path) -> set[str]:
    return {p.relative_to(root).as_posix() for p in root.parent.rglob("*") if p.is_file()}


def test_an_archive_becomes_a_data_set_of_its_name_among_the_runs(root):
    steps = []
    folder, left_out = drop(root, members={**KNEES, "read me.txt": b"x"},
                            progress=lambda *step: steps.append(step))  # fmt: skip
    assert folder.name == "knees" and folder.parent.parent == root / ".data"
    assert left_out == [("read me.txt", "not a kind of file that KOP reads")]
    assert len(scan(folder).items) == 4 and steps[-1] == (4, 4)
    assert runs.list_runs(root) == ()  # it does not pass for a run


def test_the_runs_folder_follows_the_environment(root, monkeypatch):
    monkeypatch.setenv("KOP_RUNS", str(root))
    assert kept_data.folder() == root / ".data"
    folder, _ = kept_data.keep(io.BytesIO(packed(KNEES)), "knees.zip")
    assert folder.is_relative_to(root)


def test_the_same_archive_is_kept_once(root, monkeypatch):
    first = drop(root, members={**KNEES, "read me.txt": b"x"})
    os.utime(first[0].parent, LONG_AGO)
    monkeypatch.setattr(
        "kop_core.datasets.archives.unpack", lambda *_, **__: pytest.fail("unpacked again")
    )
    assert drop(root, members={**KNEES, "read me.txt": b"x"}) == first
    assert drop(root, "other.zip", {**KNEES, "read me.txt": b"x"}) == first
    assert len(inside(root)) == 1
    assert kept_data.unused(root) == []  # somebody wants it now


def test_two_archives_of_one_name_are_two_data_sets(root):
    one, _ = drop(root)
    other, _ = drop(root, members={**KNEES, "Normal/9.png": picture(9)})
    assert one != other and one.name == other.name == "knees"
    assert (len(scan(one).items), len(scan(other).items)) == (4, 5)


def test_an_archive_is_read_from_its_beginning(root):
    stream = io.BytesIO(packed(KNEES))
    stream.seek(100)
    assert kept_data.keep(stream, "knees.zip", root) == drop(root)


def test_another_who_unpacks_the_same_at_the_same_time_does_no_harm(root, monkeypatch):
    from kop_core.datasets import archives

    unpack, before = archives.unpack, []

    def slow(archive, into, **more):
        if not before:
            before.append(None)
            before.append(drop(root))  # the other one is ready first
        return unpack(archive, into, **more)

    monkeypatch.setattr(archives, "unpack", slow)
    assert drop(root) == before[1]
    assert len(inside(root)) == 1


def test_nothing_climbs_out(root):
    outside = {"../../../up.png": picture(), "/abs.png": picture(), "a/../../b.png": picture()}
    folder, left_out = drop(root, members={**KNEES, **outside})
    assert {name for name, _ in left_out} == {"../../../up.png", "/abs.png", "a/../../b.png"}
    assert {p for p in written(root) if not p.startswith(".data/")} == set()
    assert len(scan(folder).items) == 4


BAD = {
    "no zip": b"not a zip",
    "nothing": b"",
    "cut": packed(KNEES)[:-40],
    "no picture": packed({"a.txt": b"x"}),
    "too many": packed({f"{i}.png": b"" for i in range(30)}),
    "too large": packed({f"{i}.png": bytes(90_000) for i in range(3)}, zipfile.ZIP_STORED),
    "only a bomb": packed({"bomb.png": bytes(500_000)}),
}


@pytest.fixture
def low_limits(monkeypatch) -> None:
    from kop_core.datasets import archives
    from tests.datasets.test_archives import SMALL

    unpack = archives.unpack
    monkeypatch.setattr(archives, "unpack", lambda a, i, **more: unpack(a, i, SMALL, **more))


@pytest.mark.parametrize("what", BAD)
def test_what_is_not_unpacked_is_a_named_error_and_leaves_nothing(root, low_limits, what):
    for _ in range(2):  # and is no better the second time
        with pytest.raises(DataSetError, match=r"archive|zip"):
            kept_data.keep(io.BytesIO(BAD[what]), "knees.zip", root)
    assert inside(root) == []


def test_a_bomb_among_pictures_is_left_out(root, low_limits):
    folder, left_out = drop(root, members={**KNEES, "Normal/bomb.png": bytes(90_000)})
    ((name, reason),) = left_out
    assert name == "Normal/bomb.png" and "bombs" in reason
    assert len(scan(folder).items) == 4


def test_a_full_disk_is_a_named_error(root, monkeypatch):
    usage = namedtuple("usage", "total used free")
    monkeypatch.setattr("shutil.disk_usage", lambda _: usage(1, 1, 2**26))
    with pytest.raises(DataSetError, match="Make room"):
        drop(root)
    assert inside(root) == []


def test_a_folder_that_cannot_be_written_is_a_named_error(root):
    root.mkdir()
    (root / ".data").write_text("a file")
    with pytest.raises(RunError, match=r"cannot be unpacked in .*name a folder"):
        drop(root)


@pytest.mark.parametrize(
    ("name", "called"),
    [
        ("knees 2 (final).zip", "knees 2 (final)"),
        ("../../etc/passwd.zip", "passwd"),
        ("..\\..\\x.zip", "_.._x"),
        ("C:\\data\\knees.zip", "C__data_knees"),
        ("Kniegelenke Köln.zip", "Kniegelenke Köln"),
        ("膝" * 300 + ".zip", None),
        ("\U00020bb7" * 300 + ".zip", None),
        ("x" * 199 + " .y.zip", "x" * 199),
        ("a\0b\nc\udcff*?.zip", "a_b_c___"),
        ("knees.csv.zip", "knees.csv"),
        (".left_out.json.zip", "left_out.json"),
        ("...", "archive"),
        (". .zip", "archive"),
        ("", "archive"),
    ],
)
def test_odd_names_of_archives(root, name, called):
    folder, _ = drop(root, name)
    assert folder.parent.parent == root / ".data" and len(scan(folder).items) == 4
    assert folder.name == called or (called is None and 20 < len(folder.name) < 200)
    assert drop(root, name)[0] == folder


# What is no longer needed.


def run_on(folder: Path, root: Path) -> runs.Run:
    return runs.create(CONFIG, folder, root=root)


def age(folder: Path) -> Path:
    os.utime(folder.parent, LONG_AGO)
    return folder


def test_what_no_run_needs_is_removed_when_the_next_one_is_dropped(root, small_network):
    archives = [(f"{n}.zip", {**KNEES, f"{n}.png": picture()}) for n in ("a", "b")]
    needed, unneeded = map(age, [drop(root, *archive)[0] for archive in archives])
    run = run_on(needed, root)
    assert kept_data.unused(root) == [unneeded.parent]
    dropped, _ = drop(root)
    assert needed.is_dir() and dropped.is_dir() and not unneeded.parent.exists()
    assert len(inside(root)) == 2
    runs.delete(run)
    assert kept_data.remove_unused(root) == [needed.parent]
    assert inside(root) == [dropped.parent.name]


def test_what_was_dropped_a_moment_ago_is_spared(root):
    folder, _ = drop(root)
    assert kept_data.remove_unused(root) == [] and folder.is_dir()
    assert kept_data.remove_unused(root, spared=-1) == [folder.parent]
    assert inside(root) == [] and kept_data.unused(root / "none") == []


def test_a_run_on_a_table_or_a_folder_inside_needs_the_whole(root, small_network):
    table = {"Normal/1.png": picture(), "list/table.csv": b"file,class\n"}
    one, _ = drop(root, "one.zip", table)
    other, _ = drop(root, "other.zip")
    run_on(one / "list" / "table.csv", root)
    run_on(other / "Normal", root)
    assert kept_data.unused(root, spared=-1) == []


def test_whichever_way_a_path_leads_there_what_it_names_is_needed(root, small_network, tmp_path):
    """A runs folder under a link, or moved, or with the record of a run only."""
    folder, _ = drop(root)
    run = run_on(folder, root)
    (tmp_path / "link").symlink_to(root)
    assert kept_data.unused(tmp_path / "link", spared=-1) == []
    request = json.loads((run.folder / "request.json").read_text())
    for path in (
        tmp_path / "link" / folder.relative_to(root),
        root / "x" / ".." / folder.relative_to(root),
        folder.relative_to(root),
    ):
        (run.folder / "request.json").write_text(json.dumps({**request, "data_folder": str(path)}))
        assert kept_data.unused(root, spared=-1) == [], path
    moved = root.with_name("moved")
    root.rename(moved)
    assert kept_data.unused(moved, spared=-1) == []
    (moved / run.id / "request.json").unlink()
    record = {"config": CONFIG.get_config(), "data": {"folder": str(folder)}}
    (moved / run.id / "run.json").write_text(json.dumps(record))
    assert kept_data.unused(moved, spared=-1) == []


def test_drafts_that_a_killed_process_left_are_removed(root):
    kept_data.folder(root).mkdir(parents=True)
    for name in (".part-1-2", ".gone-x"):
        (root / ".data" / name / "knees").mkdir(parents=True)
        os.utime(root / ".data" / name, LONG_AGO)
    (root / ".data" / ".part-3-4").mkdir()
    drop(root)
    assert [n for n in inside(root) if n.startswith(".")] == [".part-3-4"]


def test_what_was_removed_halfway_is_unpacked_anew(root, monkeypatch):
    folder = age(drop(root)[0])

    def halfway(path, **_) -> None:
        (path / "knees" / "Normal" / "0.png").unlink()  # then the machine is switched off

    with monkeypatch.context() as patch:
        patch.setattr(shutil, "rmtree", halfway)
        kept_data.remove_unused(root)
    assert len(scan(drop(root)[0]).items) == 4 and drop(root)[0] == folder


@pytest.mark.parametrize("content", [b"", b"{", b"null", b"[1]", b"[" * 100_000, b"\xff", None])
def test_what_a_hand_altered_is_mended_and_pictures_that_are_there_stay(root, content):
    first, left_out = drop(root, members={**KNEES, "read me.txt": b"x"})
    note = first.parent / ".left_out.json"
    note.unlink() if content is None else note.write_bytes(content)
    again = drop(root, "other.zip", {**KNEES, "read me.txt": b"x"})
    assert again[0].name == "other" and again[1] == left_out
    assert len(scan(first).items) == len(scan(again[0]).items) == 4  # a run may need the first
    shutil.rmtree(first)
    shutil.rmtree(again[0])
    assert drop(root, members={**KNEES, "read me.txt": b"x"}) == (first, left_out)
