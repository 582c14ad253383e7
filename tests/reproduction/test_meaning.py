"""Sentences must follow from the numbers, whichever way these fall."""

from __future__ import annotations

import numpy as np
import pytest

from kop_core.evaluation import Predictions
from kop_core.reproduction import meaning
from kop_core.reproduction.results import Results
from kop_core.training.run_folder import write_json


def predictions(right: float, radiographs: int = 150, seed: int = 0, copies: int = 3):
    """Return predictions of which a share is right, radiograph by radiograph."""
    rng = np.random.default_rng(seed)
    group = np.repeat(np.arange(radiographs), copies)
    true = (group % 3).astype(int)
    hit = rng.permutation(radiographs) < round(right * radiographs)
    called = np.where(hit[group], true, (true + 1) % 3)
    files = tuple(f"{i}.png" for i in range(len(group)))
    return Predictions(files, tuple(f"R{g}" for g in group), true, np.eye(3)[called])


def made(folder, random=(), radiograph=(), files=1947, copied=0.8, conflicted=5) -> Results:
    """Write results with runs of given accuracies, and return them."""
    entries = []
    for split, shares in (("random", random), ("radiograph", radiograph)):
        for seed, share in enumerate(shares, start=1):
            name = f"{split}-{seed}"
            (folder / name).mkdir(parents=True)
            told = predictions(share, seed=seed)
            told.write(folder / name / "predictions.csv")
            tested = len(told.files)
            same = round(copied * tested) if split == "random" else 0
            entries.append(
                {
                    "name": name, "state": "finished",
                    "config": {"split": split, "folds": None, "fold": None, "seed": seed,
                               "epochs": 2, "conflicts": "keep"},
                    "split": {"protocol": split, "test_files": tested, "identical": 0,
                              "identical_share": 0.0, "same_radiograph": same,
                              "same_radiograph_share": same / tested},
                }
            )  # fmt: skip
    data = {"files": files, "radiographs": 150, "conflicted_radiographs": conflicted}
    record = {"format": 1, "name": "knees", "data": data, "runs": entries}
    folder.mkdir(exist_ok=True)
    write_json(folder / "results.json", record)
    return Results(folder, record)


def said(folder, **given) -> str:
    return " ".join(meaning.sentences(made(folder, **given)))


def test_leakage_costs(tmp_path):
    text = said(tmp_path, random=(0.92, 0.94), radiograph=(0.4, 0.44))
    assert "93.0 % (95 % CI" in text
    assert "mean of 2 seeds 93.0 %, 92.0 % to 94.0 %" in text
    assert "random split, 80 % of test images have copies in training" in text
    assert "Every run reaches the 90.25 % that the paper prints; their mean is 2." in text
    assert "points above it." in text
    assert "costs 51.0 points (95 % CI" in text
    assert "80 % of those of the random split had some in training" in text
    assert "5 of these are filed under more than one class" in text


@pytest.mark.parametrize(
    ("random", "says"),
    [
        ((0.8,), "That does not reach the 90.25 % that the paper prints: it is 10.2 points below."),
        ((0.92,), "That reaches the 90.25 % that the paper prints: it is 1.8 points above."),
        ((0.8, 0.82), "None of the runs reaches the 90.25 % that the paper prints; their mean is"),
        ((0.8, 0.92), "1 of 2 runs reaches the 90.25 % that the paper prints; their mean is"),
        ((0.8, 0.92, 0.94), "2 of 3 runs reach the 90.25 %"),
    ],
)
def test_whether_the_paper_is_reached(tmp_path, random, says):
    assert says in said(tmp_path, random=random)


def test_no_difference_is_not_called_one(tmp_path):
    text = said(tmp_path, random=(0.5,), radiograph=(0.5,))
    assert "cannot be told from no difference" in text and "costs" not in text


def test_a_difference_the_other_way_is_said(tmp_path):
    text = said(tmp_path, random=(0.4,), radiograph=(0.8,))
    assert "By radiograph it is right more often than by the random split, by 40.0 points" in text
    assert "costs" not in text


@pytest.mark.parametrize(
    ("radiograph", "says"),
    [
        (0.7, "the network's accuracy is above that"),
        (1 / 3, "the network's accuracy cannot be told from that"),
        (0.1, "the network's accuracy is below that"),
    ],
)
def test_against_the_largest_class_and_guessing(tmp_path, radiograph, says):
    text = said(tmp_path, radiograph=(radiograph,))
    assert "would be right in 33.3 %" in text and says in text
    assert says.replace("the network's accuracy", "it").replace("that", "the 33.3 % of") in text


def test_more_or_fewer_files_than_the_papers(tmp_path):
    assert "this data set has 1,415 files" in said(tmp_path / "a", files=1415, random=(0.9,))
    assert "this data set has" not in said(tmp_path / "b", random=(0.9,))


def test_the_best_possible_of_contradicting_labels():
    true = np.array([0, 0, 1, 2, 2, 2])
    radiographs = ("R1", "R1", "R1", "R2", "R2", "R3")
    given = Predictions(tuple("abcdef"), radiographs, true, np.eye(3)[true])
    assert meaning.best_possible(given) == pytest.approx(5 / 6)
    unknown = Predictions(given.files, ("",) * 6, true, given.probabilities)
    assert meaning.best_possible(unknown) is None
    assert meaning.difference(unknown, given) is None


def test_the_best_possible_is_said_where_labels_contradict(tmp_path):
    results = made(tmp_path, radiograph=(0.5,))
    path = tmp_path / "radiograph-1" / "predictions.csv"
    lines = path.read_text().splitlines()
    lines[1] = lines[1].replace(",healthy,", ",osteopenia,")
    path.write_text("\n".join(lines) + "\n")
    assert "right in at most 99.8 % of these test images" in " ".join(meaning.sentences(results))


def test_the_interval_of_a_difference_draws_radiographs():
    one, other = predictions(0.9, seed=1), predictions(0.6, seed=2)
    gap = meaning.difference(one, other)
    assert gap.value == pytest.approx(0.3) and gap.low < 0.3 < gap.high
    # ten copies of each picture are no more evidence than one
    many = meaning.difference(
        predictions(0.9, seed=1, copies=30), predictions(0.6, seed=2, copies=30)
    )
    assert many.high - many.low == pytest.approx(gap.high - gap.low, rel=0.05)
    # wide enough: two independent shares of 150 radiographs
    expected = 2 * 1.96 * np.sqrt(0.9 * 0.1 / 150 + 0.6 * 0.4 / 150)
    assert gap.high - gap.low == pytest.approx(expected, rel=0.25)
