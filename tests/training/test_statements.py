"""What a card says in words must follow from how the run was split."""

from __future__ import annotations

import numpy as np
import pytest

from kop_core import wording
from kop_core.evaluation import Predictions, evaluate
from kop_core.training.finishing import statements

EVALUATION = evaluate(
    Predictions(("a", "b", "c"), ("R1", "R2", "R3"), np.arange(3), np.eye(3)), draws=5
)


def said(
    protocol: str, conflicted: int = 0, audit: bool = False, more: dict | None = None, **split
) -> str:
    record = {
        **(more or {}),
        "data": {
            "name": "knees", "files": 1000, "radiographs": 120, "unreadable": [],
            "conflicted_radiographs": conflicted,
            "radiographs_from": "audit" if audit else "data set",
        },
        "split": {
            "protocol": protocol, "seed": 1, "conflicts": "keep", "fold": None, "folds": None,
            "training_files": 800, "left_out_files": 0, "test_files": 200,
            "identical": 0, "identical_share": 0.0,
            "same_radiograph": 0, "same_radiograph_share": 0.0,
            "same_patient": None, "same_patient_share": None, **split,
        },
    }  # fmt: skip
    return " ".join(statements(record, EVALUATION))


def test_random():
    text = said("random", same_radiograph=150, same_radiograph_share=0.75)
    assert "random, file by file, as in the paper" in text
    assert "150 of the 200 test images (75 %) have a picture of the same radiograph" in text
    assert "after every epoch, as in the paper" in text


@pytest.mark.parametrize(
    ("name", "config", "expected"),
    [
        ("imagenet", {"freeze": "backbone"}, "learned on ImageNet, and only its head learned."),
        ("knees", {"head_epochs": 1}, "graded for osteoarthritis, not for bone density; all of it "
         "learned after 1 epoch of its head alone."),
        ("mine.npz", {"freeze": "conv5"}, "began with the weights in mine.npz; what comes before "
         "its layer conv5 did not learn."),
        (None, {"freeze": "conv5"}, "The network began with fresh weights; what comes before"),
    ],
)  # fmt: skip
def test_what_a_network_began_with(name, config, expected):
    began = {"name": name, "sha256": None} if name else None
    assert expected in said("radiograph", more={"pretrained": began, "config": config})
    assert "began with" not in said("radiograph")


def test_by_radiograph():
    text = said("radiograph")
    assert "No picture of a test radiograph was in training." in text
    assert "Which patient each picture is of is not known" in text
    assert "as in the paper" not in text and "random" not in text


def test_by_radiograph_with_patients_known():
    apart = said("radiograph", same_patient=0, same_patient_share=0.0)
    assert "No picture of a test patient was in training either." in apart
    across = said("radiograph", same_patient=20, same_patient_share=0.1)
    assert "20 of the 200 test images (10 %) are of patients with another radiograph" in across


def test_by_patient():
    known = said("patient", same_patient=0, same_patient_share=0.0)
    assert "No picture of a test patient was in training." in known
    assert "No picture of a test radiograph was in training either." in known
    unknown = said("patient", same_patient=0, same_patient_share=0.0, same_radiograph=None)
    assert "may be on both sides" in unknown and "either" not in unknown


@pytest.mark.parametrize(
    ("conflicts", "more", "says"),
    [
        ("keep", {}, "Some of the labels must be wrong, in the test part too."),
        ("drop", {"left_out_files": 40}, "Their 40 files were left out of both parts."),
        ("test", {}, "They were put into the test part only."),
        ("test", {"folds": 5, "fold": 2, "left_out_files": 30}, "each in one fold; 30 files"),
    ],
)
def test_conflicts(conflicts, more, says):
    text = said("radiograph", conflicted=9, conflicts=conflicts, **more)
    assert "9 of these are filed under more than one class" in text and says in text
    assert "more than one class" not in said("radiograph", conflicts=conflicts, **more)


def test_a_fold_and_an_audit_are_said():
    text = said("radiograph", audit=True, folds=5, fold=2)
    assert "fold 2 of 5" in text and "found by KOP's audit" in text
    assert "audit" not in said("radiograph")


@pytest.mark.parametrize(
    ("split", "badge"),
    [
        ({"protocol": "radiograph", "same_radiograph_share": 0.0}, ("by radiograph", False)),
        ({"protocol": "patient"}, ("by patient", False)),
        (
            {"protocol": "radiograph", "folds": 5, "fold": 2, "conflicts": "drop"},
            ("by radiograph, fold 2 of 5, conflicted radiographs left out", False),
        ),
        (
            {"protocol": "radiograph", "conflicts": "test"},
            ("by radiograph, conflicted radiographs in the test part only", False),
        ),
        (
            {"protocol": "random", "same_radiograph_share": 0.81},
            ("random split, 81 % of test images have copies in training", True),
        ),
        (
            {"protocol": "random", "same_radiograph_share": None, "identical_share": 0.3},
            ("random split, 30 % of test images have byte-identical copies in training", True),
        ),
        ({"protocol": "random", "identical_share": 0.0}, ("random split of the files", True)),
        (
            {"protocol": "patient", "identical_share": 0.02},
            ("by patient, 2 % of test images have byte-identical copies in training", True),
        ),
        ({}, ("split unknown", True)),
    ],
)
def test_the_badge_says_the_split(split, badge):
    assert wording.split_badge(split) == badge
