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


def share(value, half=0.04):
    """Return a share with an interval of given half width, as plain values."""
    return {"value": value, "low": value - half, "high": value + half}


def made(
    folder,
    random=(),
    radiograph=(),
    files=1947,
    copied=0.8,
    conflicted=5,
    look_up=None,
    leaks=0,
    facts=None,
    **data,
) -> Results:
    """Write results with runs of given accuracies, and return them."""
    entries = []
    for split, shares in (("random", random), ("radiograph", radiograph)):
        for seed, right in enumerate(shares, start=1):
            name = f"{split}-{seed}"
            (folder / name).mkdir(parents=True)
            told = predictions(right, seed=seed)
            told.write(folder / name / "predictions.csv")
            tested = len(told.files)
            same = round(copied * tested) if split == "random" else 0
            examined = {}
            if look_up and split in look_up:
                leakage = {"protocol": split, "seed": seed, "test_files": tested, "identical": 0,
                           "near": 0, "any": leaks}  # fmt: skip
                scored = look_up[split][seed - 1]
                examined = {"examined": {"leakage": leakage, "split_sha256": "", "audit_version": 0,
                                         "look_up": share(scored),
                                         "ahead": share(right - scored)}}  # fmt: skip
            entries.append(
                {
                    **examined,
                    "name": name, "state": "finished",
                    "config": {"split": split, "folds": None, "fold": None, "seed": seed,
                               "epochs": 2, "conflicts": "keep"},
                    "split": {"protocol": split, "test_files": tested, "identical": 0,
                              "identical_share": 0.0, "same_radiograph": same,
                              "same_radiograph_share": same / tested},
                }
            )  # fmt: skip
    data = {"files": files, "radiographs": 150, "conflicted_radiographs": conflicted,
            **data}  # fmt: skip
    record = {"format": 1, "name": "knees", "data": data, "runs": entries}
    if facts is not None:
        record["audit"] = {"shortcuts": {"file_facts": {"by_radiograph": share(facts)}}}
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
        (0.7, "is above"),
        (1 / 3, "cannot be told from"),
        (0.1, "is below"),
    ],
)
def test_against_the_largest_class_and_guessing(tmp_path, radiograph, says):
    text = said(tmp_path, radiograph=(radiograph,))
    points = f"{100 * (radiograph - 1 / 3):+.1f}".replace("-", "\u2212").replace("+-", "+")
    assert f"would be right in 33.3 %. The network's accuracy {says} that: " in text
    assert f"{points} points (95 % CI" in text
    assert f"it {says} the 33.3 % of guessing" in text
    # it is said of a random split too
    text = said(tmp_path / "random", random=(radiograph,))
    assert f"The network's accuracy {says} that: {points} points" in text


def test_the_largest_class_is_compared_image_by_image():
    # right on the largest class alone, and on each of its images: nothing gained, whatever
    # radiographs are drawn
    true = np.repeat([0, 0, 0, 1, 2], 8)
    told = Predictions(
        tuple(map(str, range(40))), tuple(f"R{i}" for i in range(40)), true, np.eye(3)[true * 0]
    )
    name, largest, gain = meaning.against_largest_class(told)
    assert (name, largest) == ("healthy", pytest.approx(0.6))
    assert (gain.value, gain.low, gain.high) == (0, 0, 0)
    # and never certain of more than the radiographs show
    one = predictions(0.6, radiographs=60)
    _, _, gain = meaning.against_largest_class(one)
    hits = (one.predicted == one.true) - 1.0 * (one.true == 0)
    spread = 2 * 1.96 * hits.std() / np.sqrt(60)
    assert gain.high - gain.low == pytest.approx(spread, rel=0.15)


@pytest.mark.parametrize(
    ("random", "says"),
    [
        ((0.9,), ", which has no interval of its own, lies inside our 95 % interval."),
        ((0.7,), " lies above our 95 % interval."),
        ((0.99,), " lies below our 95 % interval."),
    ],
)
def test_where_the_papers_accuracy_lies(tmp_path, random, says):
    text = said(tmp_path, random=random)
    assert f"The paper's figure{says}" in text
    assert text.count("our 95 % interval") == 1


# The look-up.


def test_what_a_look_up_reaches(tmp_path):
    text = said(tmp_path / "a", random=(0.9,), look_up={"random": (0.81,)})
    assert "is right in 81.0 % (95 % CI 77.0–85.0); the network in 90.0 %." in text
    assert "the network less the look-up is +9.0 points (95 % CI +5.0 to +13.0)." in text
    text = said(tmp_path / "b", random=(0.9, 0.8), look_up={"random": (0.81, 0.7)})
    assert "is right in 81.0 % (95 % CI 77.0–85.0) for seed 1 and 70.0 % (95 % CI" in text
    assert "; the network in 90.0 % and 80.0 %." in text
    assert "is +9.0 points (95 % CI +5.0 to +13.0) for seed 1 and +10.0 points" in text
    assert "look-up" not in said(tmp_path / "c", random=(0.9,), radiograph=(0.5,))


@pytest.mark.parametrize(
    ("split", "network", "look_up", "says"),
    [
        ("random", (0.9,), (0.9,), "The interval holds zero: by this split the network is not "
         "shown to have learned anything but to recognise copies."),
        ("random", (0.98,), (0.7,), "The interval lies above zero: the network does more than this "
         "look-up. Whether that is bone,"),
        # the intervals of both overlap, that of the difference decides
        ("random", (0.92,), (0.86,), "The interval lies above zero: the network does more"),
        ("random", (0.6,), (0.94,), "The interval lies below zero: recognising copies does better"),
        ("radiograph", (0.6,), (0.6,), "holds zero: the network is not shown to find more in a "
         "radiograph it has not seen"),
        ("radiograph", (0.8,), (0.5,), "lies above zero: the network finds something"),
        ("radiograph", (0.4,), (0.6,), "lies below zero: the look-up does better"),
        ("random", (0.6, 0.62), (0.9, 0.92), "lies below zero in both runs:"),
        # the least of the runs decides what follows
        ("random", (0.98, 0.9), (0.7, 0.9), "In 1 of 2 runs the interval lies above zero, in 1 of "
         "2 runs the interval holds zero, and the least decides: by this split the network is not "
         "shown"),
    ],
)  # fmt: skip
def test_what_follows_from_the_look_up(tmp_path, split, network, look_up, says):
    assert says in said(tmp_path, **{split: network}, look_up={split: look_up})


def test_without_the_difference_nothing_follows(tmp_path):
    found = made(tmp_path, random=(0.9,), look_up={"random": (0.8,)})
    del found.record["runs"][0]["examined"]["ahead"]
    text = " ".join(meaning.sentences(found))
    assert "is right in 80.0 %" in text and "less the look-up" not in text


def test_copies_that_only_the_audit_sees_are_said(tmp_path):
    given = {"radiograph": (0.5, 0.5), "look_up": {"radiograph": (0.5, 0.5)}}
    text = said(tmp_path / "a", **given, leaks=9)
    assert "still sees, for 18 of these 900 test images (2 %), a picture" in text
    assert "still sees" not in said(tmp_path / "b", **given)


@pytest.mark.parametrize(
    ("facts", "says"),
    [(0.6, "overlaps with that: an accuracy of this size can be had"), (0.3, "lies above that"),
     (0.85, "lies below that")],
)  # fmt: skip
def test_facts_of_files_reach_what_they_reach(tmp_path, facts, says):
    text = said(tmp_path, radiograph=(0.6,), facts=facts)
    assert f"is right in {100 * facts:.1f} % (95 % CI" in text
    assert f"The network's interval {says}" in text


def test_more_or_fewer_files_than_the_papers(tmp_path):
    classes = {"healthy": 646, "osteopenia": 125, "osteoporosis": 644}
    text = said(tmp_path / "a", files=1415, random=(0.9,), classes=classes)
    assert "this data set has 1,415 files, at most a part of those (73 %)." in text
    assert "these files are 46 % healthy, 9 % osteopenia, 46 % osteoporosis" in text
    assert "The paper's test part was 42 % healthy, 17 % osteopenia, 41 % osteoporosis" in text
    assert "it holds others" in said(tmp_path / "c", files=2000, random=(0.9,))
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
