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


@pytest.mark.parametrize(
    ("text", "says"),
    [
        ("file,true\na,healthy\n", "lacks the column"),
        (HEAD, "no predictions"),
        (HEAD + "a,R1,normal,0.2,0.3,0.5\n", "line 2: 'normal'"),
        (HEAD + "a,R1,healthy,0.2,0.3,0.6\n", "line 2.*sum to 1"),
        (HEAD + "a,R1,healthy,1,0,0\nb,R1,healthy,0.2,x,0.6\n", "line 3.*not a number"),
        (HEAD + "a,R1,healthy,nan,0,1\n", "line 2"),
        (HEAD + "a,R1,healthy,1\n", "not a number"),
    ],
)
def test_bad_tables_are_named_with_the_line(tmp_path, text, says):
    (tmp_path / "p.csv").write_text(text)
    with pytest.raises(DataSetError, match=says):
        Predictions.read(tmp_path / "p.csv")
