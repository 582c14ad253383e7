"""Archives as people make them, and as nobody should."""

from __future__ import annotations

import io
import stat
import struct
import warnings
import zipfile
from dataclasses import replace
from pathlib import Path

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from PIL import Image

from kop_core.datasets.archives import LIMITS, unpack
from kop_core.datasets.scanning import scan
from kop_core.errors import DataSetError

SMALL = replace(LIMITS, max_members=20, max_bytes=200_000, max_member=100_000, free_ratio=1_000)


def packed(members: dict | list, method: int = zipfile.ZIP_DEFLATED) -> bytes:
    """A zip of names, or of ``ZipInfo``, with their bytes; the same for the same members."""
    stream = io.BytesIO()
    with zipfile.ZipFile(stream, "w", method) as archive, warnings.catch_warnings():
        warnings.simplefilter("ignore")  # of names that are there twice
        for name, data in members.items() if isinstance(members, dict) else members:
            info = name if isinstance(name, zipfile.ZipInfo) else zipfile.ZipInfo(name)
            archive.writestr(info, data, None if info is name else method)
    return stream.getvalue()


def picture(side: int = 40) -> bytes:
    stream = io.BytesIO()
    Image.effect_noise((side, side), 60).save(stream, "PNG")
    return stream.getvalue()


def written(folder: Path) -> set[str]:
    return {p.relative_to(folder).as_posix() for p in folder.rglob("*") if p.is_file()}


def test_a_packed_data_set_is_the_data_set(small_data, tmp_path):
    stream = io.BytesIO()
    with zipfile.ZipFile(stream, "w", zipfile.ZIP_DEFLATED) as archive:
        for path in sorted(small_data.rglob("*.png")):
            archive.write(path, Path("my data") / path.relative_to(small_data))
        archive.writestr("my data/radiographs.csv", "file,radiograph\n")
        archive.writestr("__MACOSX/my data/._radiographs.csv", "x")
        archive.writestr("my data/.DS_Store", "x")
        archive.writestr("my data/read me.txt", "x")
    steps = []
    left_out = unpack(stream, tmp_path / "out", progress=lambda *s: steps.append(s))
    assert left_out == [("my data/read me.txt", "not a kind of file that KOP reads")]
    assert steps[-1] == (37, 37)
    data = scan(tmp_path / "out" / "my data")
    assert data.fingerprint == scan(small_data).fingerprint
    assert scan(tmp_path / "out").counts() == data.counts()


def test_a_path_a_file_and_bytes_are_all_taken(tmp_path):
    data = packed({"Normal/a.png": picture()})
    (tmp_path / "a.zip").write_bytes(data)
    for place, source in enumerate((data, io.BytesIO(data), tmp_path / "a.zip")):
        assert unpack(source, tmp_path / str(place)) == []
        assert written(tmp_path / str(place)) == {"Normal/a.png"}
    with pytest.raises(DataSetError, match="cannot be opened"):
        unpack(tmp_path / "none.zip", tmp_path / "new")
    with pytest.raises(DataSetError, match="not empty"):
        unpack(data, tmp_path / "0")


@pytest.mark.parametrize(
    ("name", "reason"),
    [
        ("../up.png", "leads out"),
        ("a/../../up.png", "leads out"),
        ("a\\..\\..\\up.png", "leads out"),
        ("/etc/up.png", "absolute"),
        ("\\\\server\\up.png", "absolute"),
        ("C:\\up.png", "absolute"),
        ("c:up.png", "absolute"),
        ("a/\x1b[31m.png", "cannot be shown"),
        ("a" * 1_001 + ".png", "too long"),
        ("a/" * 16 + "a.png", "too deep"),
        ("a/inner.zip", "archive inside"),
        ("a/inner.tar.gz", "archive inside"),
        ("a/run.exe", "not a kind of file"),
        ("a/picture", "not a kind of file"),
        ("a/" + "n" * 300 + ".png", "cannot be written"),
    ],
)
def test_names_that_are_left_out(tmp_path, name, reason):
    out = tmp_path / "deep" / "out"
    left_out = unpack(packed({name: b"x", "Normal/good.png": picture()}), out)
    assert written(tmp_path) == {"deep/out/Normal/good.png"}
    ((shown, said),) = left_out
    assert reason in said and shown.isprintable() and len(shown) < 202


def test_spaces_that_systems_put_into_names_are_taken(tmp_path):
    name = "Normal/Screenshot at 9.41.00\N{NARROW NO-BREAK SPACE}AM.png"
    assert unpack(packed({name: picture()}), tmp_path / "out") == []
    assert written(tmp_path / "out") == {name}
    assert len(scan(tmp_path / "out").items) == 1


def special(name: str, mode: int) -> zipfile.ZipInfo:
    info = zipfile.ZipInfo(name)
    info.external_attr = (mode | 0o644) << 16
    return info


def test_links_devices_and_encrypted_members_are_left_out(tmp_path):
    members = [
        (special("link.png", stat.S_IFLNK), "/etc/passwd"),
        (special("pipe.png", stat.S_IFIFO), ""),
        (special("plain.png", stat.S_IFREG), picture()),
        ("secret.png", "x"),
    ]
    data = bytearray(packed(members))
    # The last entry of the list of members is marked as encrypted.
    data[data.rfind(b"PK\x01\x02") + 8] |= 1
    left_out = dict(unpack(bytes(data), tmp_path / "out"))
    assert written(tmp_path) == {"out/plain.png"}
    assert left_out["link.png"] == "a link"
    assert "plain file" in left_out["pipe.png"] and "password" in left_out["secret.png"]


@pytest.mark.parametrize("method", [zipfile.ZIP_BZIP2, zipfile.ZIP_LZMA])
def test_methods_that_grow_without_bound_are_left_out(tmp_path, method):
    data = packed({"Normal/a.png": picture()}, method)
    with pytest.raises(DataSetError, match="ordinary zip"):
        unpack(data, tmp_path / "out")
    assert written(tmp_path) == set()


def test_names_that_clash(tmp_path):
    first = picture()
    members = [
        ("a/Knee.png", first),
        ("a/knee.PNG", b"2"),
        ("A/Knee.png", b"3"),
        ("a/./Knee.png", b"4"),
        ("a/Knee.png/b.png", b"5"),
        ("b.png/c.png", b"6"),
        ("b.png", b"7"),
        ("a/é.png", b"8"),
        ("a/e\N{COMBINING ACUTE ACCENT}.png", b"9"),
    ]
    left_out = unpack(packed(members), tmp_path / "out")
    assert written(tmp_path / "out") == {"a/Knee.png", "b.png/c.png", "a/é.png"}
    assert (tmp_path / "out/a/Knee.png").read_bytes() == first
    assert len(left_out) == 6 and all("same name" in reason for _, reason in left_out)


def test_bombs_are_not_unpacked(tmp_path):
    bomb = bytes(50_000)
    left_out = unpack(packed({"bomb.png": bomb, "good.png": picture()}), tmp_path / "1", SMALL)
    assert written(tmp_path / "1") == {"good.png"}
    assert "bombs" in dict(left_out)["bomb.png"]

    too_large = {"large.png": bytes(100_001), "good.png": picture()}
    left_out = unpack(packed(too_large, zipfile.ZIP_STORED), tmp_path / "2", SMALL)
    assert "larger than" in dict(left_out)["large.png"]

    many = {f"{i}.png": bytes(90_000) for i in range(3)}
    with pytest.raises(DataSetError, match="would unpack to"):
        unpack(packed(many, zipfile.ZIP_STORED), tmp_path / "3", SMALL)
    with pytest.raises(DataSetError, match="21 members"):
        unpack(packed({f"{i}.png": b"" for i in range(21)}), tmp_path / "4", SMALL)
    assert written(tmp_path / "3") == written(tmp_path / "4") == set()


def with_declared_size(data: bytes, size: int) -> bytes:
    """The archive with every member's declared size replaced, in both headers."""
    data = bytearray(data)
    for magic, at in ((b"PK\x03\x04", 22), (b"PK\x01\x02", 24)):
        place = data.find(magic)
        while place >= 0:
            data[place + at : place + at + 4] = struct.pack("<L", size)
            place = data.find(magic, place + 1)
    return bytes(data)


def test_headers_that_lie_about_sizes(tmp_path):
    bomb = packed({"bomb.png": bytes(5_000_000)})
    with pytest.raises(DataSetError, match="damaged"):
        unpack(with_declared_size(bomb, 10), tmp_path / "1", SMALL)
    assert written(tmp_path) == set()
    # One that says too much has all its bytes all the same, and their checksum holds.
    data = packed({"a.png": b"0123456789" * 9})
    assert unpack(with_declared_size(data, 99_000), tmp_path / "2", LIMITS) == []
    assert (tmp_path / "2" / "a.png").read_bytes() == b"0123456789" * 9


def test_the_count_of_bytes_does_not_rest_on_the_headers(tmp_path, monkeypatch):
    """Even a reader that hands out more than was declared is stopped."""
    data = packed({"a.png": picture(), "b.png": picture()})

    class Endless(io.RawIOBase):
        def read(self, size=-1):
            return bytes(size)

    monkeypatch.setattr(zipfile.ZipFile, "open", lambda *_, **__: Endless())
    limits = replace(SMALL, max_member=10**9, max_ratio=10**9)
    with pytest.raises(DataSetError, match="more than it says"):
        unpack(data, tmp_path / "1", limits)
    with pytest.raises(DataSetError, match="larger than"):
        unpack(data, tmp_path / "2", replace(SMALL, max_bytes=10**9, max_ratio=10**9))


def test_a_list_of_members_that_would_fill_the_memory(tmp_path):
    data = bytearray(packed({"a.png": picture()}))
    data[-10:-6] = struct.pack("<L", 9 * 2**20)
    with pytest.raises(DataSetError, match="list of members has 9 MB"):
        unpack(bytes(data), tmp_path / "out")
    # The same in the record of large archives.
    end = data[-22:-10] + struct.pack("<LLH", 0xFFFFFFFF, 0xFFFFFFFF, 0)
    start = len(data) - 22
    record = struct.pack("<4sQHHLLQQQQ", b"PK\6\6", 44, 45, 45, 0, 0, 1, 1, 2**40, 0)
    locator = struct.pack("<4sLQL", b"PK\6\7", 0, start, 1)
    with pytest.raises(DataSetError, match="list of members has"):
        unpack(bytes(data[:-22] + record + locator + end), tmp_path / "out")


def test_a_damaged_member_is_named_and_the_rest_is_there(tmp_path):
    bad, good = picture(60), picture()
    data = packed({"bad.png": bad, "good.png": good}, zipfile.ZIP_STORED)
    data = data.replace(bad[100:110], bytes(10))
    left_out = unpack(data, tmp_path / "out")
    assert written(tmp_path) == {"out/good.png"} and "damaged" in dict(left_out)["bad.png"]


@pytest.mark.parametrize(
    "data",
    [b"", b"PK", b"not a zip at all", b"PK\x05\x06", b"Rar!\x1a\x07\x00" + bytes(90)],
    ids=["empty", "two bytes", "text", "end mark", "rar"],
)
def test_what_is_no_zip(tmp_path, data):
    with pytest.raises(DataSetError, match="no zip archive"):
        unpack(data, tmp_path / "out")


def test_an_archive_cut_anywhere_is_a_named_error(tmp_path):
    data = packed({"a.png": picture(20), "b.png": picture(20)})
    for end in range(0, len(data), 7):
        with pytest.raises(DataSetError):
            unpack(data[:end], tmp_path / f"{end}")
    assert written(tmp_path) == set()


def test_an_archive_of_nothing_useful(tmp_path):
    with pytest.raises(DataSetError, match="no picture"):
        unpack(packed({}), tmp_path / "1")
    with pytest.raises(DataSetError, match=r"no picture.*a\.txt: not a kind"):
        unpack(packed({"a.txt": b"x"}), tmp_path / "2")


def test_a_full_disk_is_said(tmp_path, monkeypatch):
    from collections import namedtuple

    usage = namedtuple("usage", "total used free")
    monkeypatch.setattr("shutil.disk_usage", lambda _: usage(1, 1, 2**26))
    with pytest.raises(DataSetError, match="Make room"):
        unpack(packed({"a.png": picture()}), tmp_path / "out")


@settings(max_examples=60, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(st.lists(st.text("ab./\\:C\0\n é", max_size=12), min_size=1, max_size=6))
def test_nothing_is_ever_written_outside(tmp_path_factory, names):
    folder = tmp_path_factory.mktemp("zip")
    members = [(zipfile.ZipInfo(f"{name}.png"), b"x") for name in names]
    try:
        left_out = unpack(packed(members), folder / "in" / "out")
    except DataSetError:
        left_out = None
    outside = [p for p in folder.rglob("*") if p.is_file()]
    assert all(p.is_relative_to(folder / "in" / "out") for p in outside)
    assert not any(p.is_symlink() for p in folder.rglob("*"))
    if left_out is not None:
        assert all(reason for _, reason in left_out)


@settings(max_examples=150, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(st.lists(st.tuples(st.integers(0, 10_000), st.integers(0, 255)), min_size=1, max_size=8))
def test_any_altered_archive_is_unpacked_or_a_named_error(tmp_path_factory, changes):
    data = bytearray(packed({"Normal/a.png": b"first" * 9, "Normal/b.png": b"second" * 9}))
    for place, value in changes:
        data[place % len(data)] = value
    folder = tmp_path_factory.mktemp("zip")
    try:
        unpack(bytes(data), folder / "out", SMALL)
    except DataSetError as error:
        assert str(error)
    assert all(p.is_relative_to(folder / "out") for p in folder.rglob("*"))
