"""The audit from folder to report: what it counts, what it survives, what it keeps."""

from __future__ import annotations

import json
import re
from collections import Counter
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from kop_core import cli
from kop_core.datasets import scan
from kop_core.datasets.audit import (
    audit,
    cache,
    candidates,
    engine,
    examine_split,
    threads,
    with_radiographs,
)
from kop_core.datasets.audit.shortcuts import look_up, shortcuts
from kop_core.datasets.audit.signature import Signature
from kop_core.errors import DataSetError
from kop_core.radiographs import reading
from tests.datasets.copying import NEAR, PART, generated

CLASSES = ("Normal", "Osteopenia", "Osteoporosis")


@pytest.fixture(autouse=True)
def own_cache(tmp_path, monkeypatch) -> Path:
    monkeypatch.setenv("KOP_CACHE", str(tmp_path / "kept"))
    return tmp_path / "kept"


def save(grey: np.ndarray, path: Path) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    Image.fromarray(grey).save(path)


@pytest.fixture
def collection(tmp_path) -> Path:
    """Five radiographs in nine files, one of them under two classes, and two broken files."""
    folder = tmp_path / "knees"
    first, second, third = (generated(seed) for seed in range(3))
    save(first, folder / "Normal/a.png")
    save(first, folder / "Normal/a again.png")
    save(NEAR["squeezed"](first), folder / "Osteoporosis/a squeezed.png")
    save(PART["cropped"](first), folder / "Osteoporosis/a part.png")
    save(second, folder / "Osteopenia/b.png")
    save(NEAR["mirrored"](second), folder / "Osteopenia/b mirrored.png")
    save(third, folder / "Osteopenia/c.png")
    save(generated(3), folder / "Normal/d.png")
    save(generated(4), folder / "Osteoporosis/e.png")
    whole = (folder / "Normal/d.png").read_bytes()
    (folder / "Normal/cut.png").write_bytes(whole[: len(whole) // 3])
    (folder / "Osteopenia/text.png").write_text("no picture")
    return folder


def test_what_is_there_is_counted(collection):
    report = audit(scan(collection))
    by_name = {f.file: f for f in report.files}
    group = {f.file.split("/")[1][0]: f.radiograph for f in report.files}
    assert [f.radiograph for f in report.files] == [group[f.file.split("/")[1][0]]
                                                    for f in report.files]  # fmt: skip
    assert len(report.files) == 9 and len(report.groups()) == 5
    assert report.conflicted() == [group["a"]]
    assert [[report.files[p].file for p in g] for g in report.identical_groups()] == [
        ["Normal/a again.png", "Normal/a.png"]
    ]
    assert Counter(k.strength for k in report.links) == {"identical": 1, "near": 2, "part": 1}
    mirrored = [k for k in report.links if k.mirrored]
    assert [report.files[mirrored[0].first].file, len(mirrored)] == ["Osteopenia/b mirrored.png", 1]
    assert report.counts_by_file() == {"healthy": 3, "osteopenia": 3, "osteoporosis": 3}
    assert report.counts_by_radiograph() == {"healthy": 2, "osteopenia": 2, "osteoporosis": 2}
    assert [file for file, _ in report.unreadable] == ["Normal/cut.png", "Osteopenia/text.png"]
    assert all(reason.endswith(".") for _, reason in report.unreadable)
    shown = by_name["Normal/d.png"]
    assert (shown.width, shown.height, shown.format, shown.mode) == (300, 400, "PNG", "L")
    grey = generated(3) / 255
    assert shown.brightness == pytest.approx(grey.mean(), abs=1e-4)
    assert shown.contrast == pytest.approx(grey.std(), abs=1e-4)


def test_the_report_as_json_has_counts_first_and_names_behind(collection):
    found = json.loads(json.dumps(audit(scan(collection)).get_config()))
    assert {k: found[k] for k in ("files", "radiographs", "identical_groups",
                                  "conflicted_radiographs")} == {
        "files": 9, "radiographs": 5, "identical_groups": 1, "conflicted_radiographs": 1,
    }  # fmt: skip
    assert [u["file"] for u in found["unreadable"]] == ["Normal/cut.png", "Osteopenia/text.png"]
    assert set(found["shortcuts"]) == {"file_facts", "nearest_picture"}
    leak = found["random_split_leakage"]
    assert 0 <= leak["identical"] <= leak["near"] <= leak["any"] <= 1 and leak["test_files"] == 2
    ((_, conflict),) = found["conflicts"].items()
    assert set(conflict.values()) == {"healthy", "osteoporosis"} and len(conflict) == 4


def test_the_largest_class_is_counted_among_the_files_that_are_asked():
    """Nine files are too few to be asked about; they count in neither figure."""
    counts = {"healthy": 20, "osteopenia": 9, "osteoporosis": 10}
    files = [
        engine.FileFacts(f"{true} {i}", true, f"{true} {i}", "", "", f"{true} {i}", 1, 9, 9,
                         "PNG", "L", 0, 0)
        for true, count in counts.items() for i in range(count)
    ]  # fmt: skip
    hashes = np.random.default_rng(0).normal(size=(39, 8, 8))
    assert [s.majority for s in shortcuts(files, hashes)] == [20 / 30] * 2
    # Too little to ask: the share among all.
    assert [s.majority for s in shortcuts(files[12:29], hashes)] == [9 / 17] * 2


def test_fewer_points_than_threads_can_be_compared(monkeypatch):
    monkeypatch.setattr(threads, "workers", lambda: 8)
    one = Signature(
        np.zeros((9, 9), np.uint8), np.zeros((72, 48), np.float32),
        np.zeros((192, 128), np.float16), np.zeros((1, 3), np.float32),
        np.ones((1, 128), np.float16),
    )  # fmt: skip
    assert candidates.part_pairs([one, one]) == []


def test_leakage_is_counted_by_strength():
    facts = [
        engine.FileFacts(f"{i}", "healthy", g, "", "", sha, 1, 1, 1, "PNG", "L", 0, 0)
        for i, (g, sha) in enumerate([("A", "x"), ("A", "x"), ("A", "y"), ("A", "z"), ("B", "w"),
                                      ("C", "v")])
    ]  # fmt: skip
    links = [engine.Link(0, 1, "identical", False, 1), engine.Link(0, 2, "near", False, 1),
             engine.Link(0, 3, "part", False, 1)]  # fmt: skip
    sha, near, radiograph = np.array([0, 0, 1, 2, 3, 4]), np.array([0, 0, 0, 3, 4, 5]), [0] * 4
    for test, expected in (
        ((0,), (1, 1, 1)),
        ((2,), (0, 1, 1)),
        ((3,), (0, 0, 1)),
        ((4,), (0, 0, 0)),
        ((0, 1, 2, 3), (0, 0, 0)),
    ):
        mask = np.isin(np.arange(6), test)
        leak = engine._leak("random", 1, mask, sha, near, np.array([*radiograph, 1, 2]))
        assert (leak.identical, leak.near, leak.any) == expected
    for leak in engine._leakage(facts, links):
        assert leak.identical <= leak.near <= leak.any <= leak.test_files
        assert leak.protocol == "random" or leak.any == 0


def test_a_memory_of_pictures_scores_high_by_file_and_at_chance_by_radiograph(tmp_path):
    rng = np.random.default_rng(0)
    for seed in range(30):
        true = CLASSES[rng.integers(3)]
        for copy in range(5):
            grey = np.clip(generated(seed, 120, 160) + 3.0 * copy, 0, 255).astype(np.uint8)
            save(grey, tmp_path / true / f"{seed} {copy}.png")
    report = audit(scan(tmp_path))
    assert len(report.groups()) == 30
    (look_up,) = [s for s in report.shortcuts if s.name == "nearest_picture"]
    assert look_up.random.value > 0.95
    assert look_up.by_radiograph.low < 1 / 3 < look_up.by_radiograph.high + 0.1
    assert look_up.by_radiograph.value < 0.6


def test_file_facts_that_tell_the_classes_apart_are_found_out(tmp_path):
    for place, true in enumerate(CLASSES):
        for seed in range(14):
            save(
                generated(100 * place + seed, 100 + 20 * place, 130),
                tmp_path / true / f"{seed}.png",
            )
    (facts,) = [s for s in audit(scan(tmp_path)).shortcuts if s.name == "file_facts"]
    assert facts.random.value == facts.by_radiograph.value == 1
    assert facts.majority == pytest.approx(1 / 3) and facts.by_radiograph.low < 1


def test_a_second_audit_does_not_look_again(collection, monkeypatch):
    first = audit(scan(collection))
    monkeypatch.setattr(engine, "find_copies", None)
    monkeypatch.setattr(engine, "_look", None)
    monkeypatch.setattr(engine, "shortcuts", None)
    second = audit(scan(collection)).get_config()
    assert {**second, "seconds": 0} == {**first.get_config(), "seconds": 0}
    with pytest.raises(TypeError):
        audit(scan(collection), cache=False)


def test_what_is_kept_goes_by_content_and_names_nothing(collection, own_cache):
    audit(scan(collection))
    (collection / "Normal/d.png").rename(collection / "Osteopenia/moved.png")
    before = sorted(own_cache.rglob("found-*"))
    report = audit(scan(collection))
    assert sorted(own_cache.rglob("found-*")) == before
    assert report.counts_by_file()["osteopenia"] == 4
    for path in own_cache.rglob("*.*"):
        content = path.read_bytes()
        assert b"Normal" not in content and b"squeezed" not in content
        assert str(collection).encode() not in content
    save(generated(9), collection / "Normal/new.png")
    assert len(audit(scan(collection)).files) == 10


def test_a_damaged_or_forbidden_cache_is_no_obstacle(collection, own_cache, monkeypatch):
    expected = audit(scan(collection)).get_config()["groups"]
    for path in own_cache.rglob("*.*"):
        path.write_bytes(b"{")
    assert audit(scan(collection)).get_config()["groups"] == expected
    own_cache.with_name("file").write_text("in the way")
    monkeypatch.setenv("KOP_CACHE", str(own_cache.with_name("file")))
    assert audit(scan(collection)).get_config()["groups"] == expected


def _middle(whole: bytes) -> bytes:
    half = len(whole) // 2
    return whole[:half] + b"\xff\x00" * 30 + whole[half + 60 :]


@pytest.mark.parametrize(
    ("ending", "damage"),
    [
        ("npz", lambda whole: b""),
        ("npz", lambda whole: whole[: len(whole) // 2]),
        ("npz", lambda whole: whole[:60] + bytes(20) + whole[80:]),
        ("npz", _middle),
        ("npz", lambda whole: b"PK\x05\x06" + bytes(18)),
        ("json", lambda whole: b""),
        ("json", lambda whole: whole[: len(whole) // 2]),
        ("json", lambda whole: re.sub(rb"\[300, 400,", b"[300,", whole)),
        ("json", lambda whole: re.sub(rb'"(near|part)", ', b"", whole)),
    ],
    ids=["empty", "cut", "zeros", "middle", "no member", "no text", "cut text", "look", "match"],
)
def test_whatever_is_damaged_in_the_cache_is_looked_at_again(collection, own_cache, ending, damage):
    expected = audit(scan(collection)).get_config()["groups"]
    (path,) = own_cache.rglob(f"found-*.{ending}")
    path.write_bytes(damage(path.read_bytes()))
    assert audit(scan(collection)).get_config()["groups"] == expected


def test_a_draft_of_the_cache_is_its_writers_own_and_does_not_stay(own_cache, monkeypatch):
    drafts, save = [], np.savez_compressed

    def told(stream, **arrays):
        drafts.append(stream.name)
        if len(drafts) == 2:
            raise OSError(28, "No space left on device")
        save(stream, **arrays)

    monkeypatch.setattr(np, "savez_compressed", told)
    for _ in range(2):
        cache.write(["one"], {}, {}, [], {})
    assert len(set(drafts)) == 2
    assert {p.suffix for p in own_cache.rglob("found-*")} == {".json", ".npz"}


@pytest.mark.parametrize(
    ("kind", "says"),
    [(PermissionError(13, "Permission denied"), "Permission denied"), (MemoryError(), "memory")],
)
def test_passing_trouble_is_named_and_not_kept(collection, monkeypatch, kind, says):
    if isinstance(kind, MemoryError):
        where, name = reading, "_to_radiograph"
        fails = lambda *args: args[-2] == "d.png"  # noqa: E731
    else:
        where, name = Path, "open"
        fails = lambda path, *args, **kwargs: path.name == "d.png"  # noqa: E731
    data, plain = scan(collection), getattr(where, name)

    def troubled(*args, **kwargs):
        if fails(*args, **kwargs):
            raise kind
        return plain(*args, **kwargs)

    with monkeypatch.context() as patch:
        patch.setattr(where, name, troubled)
        reasons = dict(audit(data).unreadable)
    assert says in reasons["Normal/d.png"] and len(reasons) == 3
    report = audit(data)
    assert len(report.files) == 9 and len(report.unreadable) == 2


def test_a_file_that_is_gone_meanwhile_is_named(collection):
    data = scan(collection)
    whole = audit(data)
    (collection / "Normal/a.png").unlink()
    (collection / "Osteopenia/b.png").unlink()
    report = audit(data)
    reasons = dict(report.unreadable)
    assert set(reasons) == {
        "Normal/a.png", "Osteopenia/b.png", "Normal/cut.png", "Osteopenia/text.png",
    }  # fmt: skip
    assert reasons["Normal/a.png"] == (
        "the file cannot be opened any more (No such file or directory)."
    )
    assert len(report.groups()) == len(whole.groups()) and len(report.files) == 7
    strengths = Counter(link.strength for link in report.links)
    assert strengths == {"near": 1, "part": 1}  # of a's other files, by the copy that is left
    found = examine_split(data, ["Normal/a again.png", "Normal/a.png"], ["Normal/d.png"], "r", 1)
    assert found.leakage.test_files == 1


def test_only_so_many_audits_are_kept(own_cache, monkeypatch):
    monkeypatch.setattr(cache, "_MOST", 3)
    for i in range(6):
        cache.write([f"{i}"], {}, {}, [], {})
    assert len(list(own_cache.rglob("found-*.json"))) == 3
    assert len(list(own_cache.rglob("found-*.npz"))) == 3


def test_progress_is_told_and_can_stop_the_audit(collection):
    told = []
    audit(scan(collection), lambda *now: told.append(now), cache=False)
    assert list(dict.fromkeys(stage for stage, *_ in told)) == [
        "reading", "comparing", "measuring",
    ]  # fmt: skip
    assert [t[1:3] for t in told if t[0] == "reading"] == [(i, 10) for i in range(1, 11)]

    class Stopped(Exception):
        pass

    def stop(stage, done, total, seconds_left):
        if stage == "comparing" or done == 3:
            raise Stopped

    with pytest.raises(Stopped):
        audit(scan(collection), stop, cache=False)
    audit(scan(collection), cache=False)  # and nothing is left in a bad state


@pytest.mark.parametrize("count", [1, 2])
def test_very_small_folders_can_be_audited(tmp_path, count):
    for seed in range(count):
        save(generated(seed), tmp_path / "Normal" / f"{seed}.png")
    report = audit(scan(tmp_path))
    assert len(report.groups()) == count and report.get_config()["radiographs"] == count
    assert all(s.random is None and s.by_radiograph is None for s in report.shortcuts)


def test_a_folder_with_nothing_readable_is_reported_not_raised(tmp_path):
    (tmp_path / "Normal").mkdir()
    (tmp_path / "Normal/a.png").write_text("nothing")
    report = audit(scan(tmp_path))
    assert not report.files and len(report.unreadable) == 1 and report.groups() == {}
    assert report.get_config()["random_split_leakage"] is None


def test_radiographs_are_named_for_every_file(collection):
    data = with_radiographs(scan(collection))
    named = {i.file.split("/")[1]: i.radiograph for i in data.items}
    assert len(named) == 11 and all(named.values())
    assert named["a.png"] == named["a part.png"] == named["a squeezed.png"]
    assert len({named[f] for f in ("a.png", "b.png", "c.png", "cut.png", "text.png")}) == 5


def test_files_that_the_data_set_puts_together_stay_together(collection):
    (collection / "radiographs.csv").write_text(
        "file,radiograph\nNormal/d.png,R1\nOsteoporosis/e.png,R1\n", encoding="utf-8"
    )
    named = {i.file.split("/")[1]: i.radiograph for i in with_radiographs(scan(collection)).items}
    assert named["d.png"] == named["e.png"] != named["c.png"]
    report = audit(scan(collection))  # the audit itself believes its eyes
    assert len(report.groups()) == 5 and {f.given for f in report.files} == {"", "R1"}


def test_the_command_prints_json_and_writes_groups_and_a_page(collection, tmp_path, capsys):
    groups, page = tmp_path / "groups.csv", tmp_path / "page.html"
    command = ["audit", str(collection), "--json", "--groups", str(groups), "--html", str(page)]
    assert cli.main(command) == 2  # two files could not be read
    found = json.loads(capsys.readouterr().out)
    assert (found["files"], found["radiographs"]) == (9, 5)
    lines = groups.read_text(encoding="utf-8").splitlines()
    assert lines[0] == "file,radiograph" and len(lines) == 10
    assert len({line.rsplit(",", 1)[1] for line in lines[1:]}) == 5
    assert page.read_text(encoding="utf-8").startswith("<!doctype html>")


def test_the_command_says_it_in_sentences(collection, capsys):
    assert cli.main(["audit", str(collection)]) == 2
    said = capsys.readouterr()
    assert "5 radiographs in 9 files." in said.out
    assert "1 radiograph is filed under more than one class." in said.out
    assert "Normal/cut.png:" in said.err and "Traceback" not in said.err


def test_the_command_takes_other_classes_and_refuses_what_is_no_folder(tmp_path, capsys):
    for name in ("0", "1"):
        save(generated(int(name)), tmp_path / "grades" / name / "x.png")
    assert cli.main(["audit", str(tmp_path / "grades"), "--json"]) == 0
    assert json.loads(capsys.readouterr().out)["files_by_class"]["1"] == 1
    (tmp_path / "empty").mkdir()
    for path in (tmp_path / "empty", tmp_path / "nowhere", tmp_path / "no.csv"):
        assert cli.main(["audit", str(path)]) == 1
        assert capsys.readouterr().err.count("\n") == 1
    assert cli.main(["audit", str(tmp_path / "grades"), "--groups", "/nowhere/g.csv"]) == 1
    with pytest.raises(DataSetError):
        scan(tmp_path / "empty")


def test_a_split_is_examined(tmp_path):
    """Two radiographs on both sides, one of them as a crop; two that are not."""
    a, b, c, d = (generated(seed) for seed in range(4))
    for name, grey in {
        "Normal/a": a, "Normal/a copy": a, "Osteopenia/b": b,
        "Osteoporosis/b part": PART["cropped"](b),
        "Osteopenia/c": c, "Normal/d": d,
    }.items():  # fmt: skip
        save(grey, tmp_path / f"{name}.png")
    data = scan(tmp_path)
    training, test = ("Normal/a.png", "Osteopenia/b.png", "Osteopenia/c.png"), (
        "Normal/a copy.png", "Osteoporosis/b part.png", "Normal/d.png")  # fmt: skip
    found = examine_split(data, training, test, "random", 4)
    leak = found.leakage
    assert (leak.identical, leak.near, leak.any, leak.test_files) == (1, 1, 2, 3)
    assert (leak.protocol, leak.seed) == ("random", 4)
    assert 1 / 3 <= found.look_up.value <= 2 / 3  # a is right, b's part is filed otherwise
    assert set(found.looked_up) == set(test) and found.looked_up["Normal/a copy.png"] == 1
    assert np.mean(list(found.looked_up.values())) == pytest.approx(found.look_up.value)
    assert examine_split(data, test, training, "random", 4).leakage.any == 2
    apart = examine_split(data, (*training, "Osteoporosis/b part.png"), ("Normal/d.png",), "r", 1)
    assert apart.leakage.any == 0


def test_a_look_up_gives_what_most_of_the_nearest_have():
    def facts(true: str, place: int) -> engine.FileFacts:
        return engine.FileFacts(f"{place}", true, f"G{place}", "", "", f"{place}", 1, 1, 1, "PNG",
                                "L", 0, 0)  # fmt: skip

    here, there = np.zeros((4, 4)), np.eye(4)
    files = [facts(t, i) for i, t in enumerate("hhoph")]
    hashes = [here, here, here, there, here]
    test = np.array([False, False, False, False, True])
    found, right = look_up(files, hashes, test)
    assert (found.value, right) == (1, {"4": 1})
    files[1] = facts("o", 1)
    assert look_up(files, hashes, test)[0].value == 0
    files[0], hashes[0] = facts("h", 0), there
    files[2] = facts("h", 2)
    found, right = look_up(files, hashes, test)
    assert (found.value, right) == (0.5, {"4": 0.5})
    nothing, right = look_up(files, hashes, np.zeros(5, bool))
    assert (nothing.value, right) == (None, {})
