import numpy as np
import pytest

from kop_core.errors import DataSetError
from kop_core.evaluation import Predictions

HEAD = "file,radiograph,true,p_healthy,p_osteopenia,p_osteoporosis\n"


def test_written_and_read_again(tmp_path):
    p = np.array([[0.2, 0.3, 0.5], [1 / 3, 1 / 3, 1 / 3]])
    given = Predictions(("a b.png", "c,d.png"), ("R1", ""), np.array([2, 0]), p)
    given.write(tmp_path / "p.csv")
    assert (tmp_path / "p.csv").read_text().startswith(HEAD)
    found = Predictions.read(tmp_path / "p.csv")
    assert found.files == given.files and found.radiographs == given.radiographs
    np.testing.assert_allclose(found.probabilities, p, atol=1e-6)
    assert found.groups.tolist() == [0, 1] or found.groups.tolist() == [1, 0]
    assert not found.by_radiograph


def test_a_part_keeps_rows_together():
    given = Predictions(("a", "b", "c"), ("R1", "", "R3"), np.array([0, 1, 2]), np.eye(3))
    found = given.part(np.array([True, False, True]))
    assert found.files == ("a", "c") and found.radiographs == ("R1", "R3")
    assert found.true.tolist() == [0, 2] and found.predicted.tolist() == [0, 2]


@pytest.mark.parametrize(
    ("text", "says"),
    [
        ("file,true\na,healthy\n", "lacks the column .*p_osteoporosis.*has the columns file"),
        (HEAD.replace(",p_osteopenia", "") + "a,R1,healthy,0.5,0.5\n", "column p_osteopenia"),
        (HEAD, "no predictions"),
        ("", "lacks the column"),
        (HEAD + "a,R1,normal,0.2,0.3,0.5\n", "line 2: 'normal'"),
        (HEAD + "a,R1,healthy,0.2,0.3,0.6\n", "line 2.*sum to 1.1.*not sum to 1"),
        (HEAD + "a,R1,healthy,1,0,0\nb,R1,healthy,0.2,x,0.6\n", "line 3.*not a number"),
        (HEAD + "a,R1,healthy,nan,0,1\n", "line 2.*between 0 and 1"),
        (HEAD + "a,R1,healthy,inf,0,1\n", "line 2.*between 0 and 1"),
        (HEAD + "a,R1,healthy,-0.5,0.5,1\n", "line 2.*between 0 and 1"),
        (HEAD + "a,R1,healthy,1\n", "not a number"),
        (HEAD + "a,R1,healthy,1,0,0\na,R2,healthy,1,0,0\n", "line 3: 'a' is on line 2 already"),
        (HEAD + ",R1,healthy,1,0,0\n", "line 2: there is no name of a file"),
        (HEAD + "\n\na,R1,normal,1,0,0\n", "line 4: 'normal'"),
    ],
)
def test_bad_tables_are_named_with_the_line(tmp_path, text, says):
    (tmp_path / "p.csv").write_text(text)
    with pytest.raises(DataSetError, match=says):
        Predictions.read(tmp_path / "p.csv")


def test_what_is_no_table(tmp_path):
    with pytest.raises(DataSetError, match="No such file"):
        Predictions.read(tmp_path / "none.csv")
    with pytest.raises(DataSetError, match="cannot be read as predictions"):
        Predictions.read(tmp_path)
    (tmp_path / "p.csv").write_bytes(b"\xff\xfe\x00file")
    with pytest.raises(DataSetError, match="no table in UTF-8"):
        Predictions.read(tmp_path / "p.csv")
    (tmp_path / "q.csv").write_text(HEAD + '"' + "a" * 200_000 + '",R1,healthy,1,0,0\n')
    with pytest.raises(DataSetError, match="field larger than field limit"):
        Predictions.read(tmp_path / "q.csv")
