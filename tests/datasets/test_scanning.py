import pytest

from kop_core.datasets import scan
from kop_core.errors import DataSetError


def test_classes_digests_and_fingerprint(small_data):
    data = scan(small_data)
    assert data.counts() == {"healthy": 12, "osteopenia": 12, "osteoporosis": 12}
    assert [i.file for i in data.items] == sorted(i.file for i in data.items)
    assert data.fingerprint == scan(small_data).fingerprint
    picture = data.path(data.items[0])
    picture.write_bytes(picture.read_bytes() + b" ")
    assert scan(small_data).fingerprint != data.fingerprint


def test_what_is_passed_over_is_named(small_data):
    (small_data / "Notes").mkdir()
    (small_data / "Normal" / "list.txt").write_text("x")
    (small_data / "Normal" / "empty.png").touch()
    (small_data / "Normal" / ".hidden.png").write_text("x")
    (small_data / "Normal" / "out.png").symlink_to("/etc/hostname")
    passed_over = dict(scan(small_data).passed_over)
    assert set(passed_over) == {"Notes", "Normal/list.txt", "Normal/empty.png", "Normal/out.png"}
    assert "leads out" in passed_over["Normal/out.png"]


def test_radiographs_are_read_where_they_are_known(small_data):
    file = scan(small_data).items[0].file
    (small_data / "radiographs.csv").write_text(f"file,radiograph\n{file},R7\n")
    assert [i.radiograph for i in scan(small_data).items[:2]] == ["R7", ""]
    (small_data / "radiographs.csv").write_text("a,b\n1,2\n")
    with pytest.raises(DataSetError, match="columns"):
        scan(small_data)


def test_no_folder_and_no_classes(tmp_path):
    with pytest.raises(DataSetError, match="not a folder"):
        scan(tmp_path / "none")
    (tmp_path / "cats").mkdir()
    with pytest.raises(DataSetError, match="cats"):
        scan(tmp_path)


def test_the_real_collection(shared):
    data = scan(shared / "paper1947")
    assert data.counts() == {"healthy": 646, "osteopenia": 125, "osteoporosis": 644}
    assert len({i.radiograph for i in data.items}) == 175
    assert all(i.radiograph for i in data.items)
