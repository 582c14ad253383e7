import pytest

from kop_core.datasets import Item, Split, leakage, random_split, scan
from kop_core.errors import DataSetError


def test_random_split_is_repeatable_to_the_file(small_data):
    data = scan(small_data)
    split = random_split(data, 0.25, seed=4)
    again = random_split(scan(small_data), 0.25, seed=4)
    assert split == again
    assert len(split.test) == 9 and len(split.training) == 27
    assert set(split.test) | set(split.training) == set(data.items)
    assert not set(split.test) & set(split.training)
    assert random_split(data, 0.25, seed=5).test != split.test


def test_written_and_read_again(small_data, tmp_path):
    split = random_split(scan(small_data), 0.25, seed=4)
    split.write(tmp_path / "split.csv")
    assert Split.read(tmp_path / "split.csv", "random", 4) == split
    (tmp_path / "bad.csv").write_text("file,part\na,middle\n")
    with pytest.raises(DataSetError, match=r"bad\.csv"):
        Split.read(tmp_path / "bad.csv", "random", 4)


def test_a_class_missing_in_a_part_is_said(small_data):
    for path in sorted((small_data / "Osteopenia").iterdir())[1:]:
        path.unlink()
    with pytest.raises(DataSetError, match="osteopenia"):
        random_split(scan(small_data), 0.2, seed=0)
    with pytest.raises(DataSetError, match="between 0 and 1"):
        random_split(scan(small_data), 1.0)


def split_of(training: list[tuple[str, str]], test: list[tuple[str, str]]) -> Split:
    def items(rows, part):
        return tuple(Item(f"{part}{i}", "healthy", r, s) for i, (r, s) in enumerate(rows))

    return Split("random", 0, items(training, "a"), items(test, "b"))


def test_leakage_is_counted_by_strength():
    split = split_of([("R1", "x"), ("R2", "y")], [("R1", "x"), ("R2", "z"), ("R3", "w")])
    found = leakage(split)
    assert (found["identical"], found["same_radiograph"], found["test_files"]) == (1, 2, 3)
    assert found["same_radiograph_share"] == pytest.approx(2 / 3)


def test_leakage_says_when_radiographs_are_unknown():
    found = leakage(split_of([("R1", "x")], [("", "x")]))
    assert found["identical"] == 1
    assert found["same_radiograph"] is None and found["same_radiograph_share"] is None


def test_the_papers_protocol_leaks(shared):
    found = leakage(random_split(scan(shared / "paper1947"), 0.2, seed=1))
    assert found["test_files"] == 283
    assert found["same_radiograph_share"] > 0.95
    assert found["identical_share"] > 0.4
