"""The card as text: every heading, only what the card says, the rest unknown."""

from __future__ import annotations

import copy
import json
import re
from pathlib import Path

import pytest

from kop_core import wording
from kop_core.evaluation import model_card
from kop_core.evaluation.model_card import UNKNOWN, sections
from tests.calibrations import kept

ROOT = Path(__file__).resolve().parent.parent.parent
HEADINGS = [
    "Model details",
    "Intended use",
    "Factors",
    "Metrics",
    "Evaluation data",
    "Training data",
    "Quantitative analyses",
    "Ethical considerations",
    "Caveats and recommendations",
]


@pytest.fixture
def card():
    path = ROOT / "models" / "paper-random" / "card.json"
    return json.loads(path.read_text(encoding="utf-8"))


def by_name(card) -> dict[str, model_card.Item]:
    return {item.name: item for section in sections(card) for item in section.items}


def test_the_headings_of_model_cards_come_first_in_their_order(card):
    found = [section.heading for section in sections(card)]
    assert found[: len(HEADINGS)] == HEADINGS
    assert all(heading.startswith("CLAIM 2024: ") for heading in found[len(HEADINGS) :])


def test_the_44_items_of_claim_are_all_there_once_and_in_order(card):
    items = [i for s in sections(card) if s.heading.startswith("CLAIM") for i in s.items]
    numbers = [int(re.match(r"(\d+)\. ", item.name).group(1)) for item in items]
    assert numbers == list(range(1, 45))


def test_every_item_is_a_sentence_or_unknown(card):
    for section in sections(card):
        assert section.items
        for item in section.items:
            assert item.text[-1] in ".?" and item.text == item.text.strip(), item
            assert (item.text == UNKNOWN) is not item.known
            assert "None" not in item.text.replace("None:", "") and "{" not in item.text


def test_what_the_card_says_is_said(card):
    found = by_name(card)
    assert found["Version"].text == f"paper-random, version {card['version']}."
    assert "15,610,499 parameters" in found["Type"].text
    assert wording.accuracy(card["evaluation"]) in found["Overall"].text
    assert wording.split_badge(card["split"])[0] in found["Overall"].text
    assert card["cautions"][0] in found["40. Limitations"].text
    assert "114 / 3 / 2" in found["39. Failure analysis"].text
    assert "1,132 files to train, 283 to test" in found["19. Assignment to partitions"].text
    disjoint = found["20. Level at which partitions are disjoint"].text
    assert "level of the file" in disjoint and "same patient in training: not known" in disjoint
    assert "adam" in found["25. Training approach"].text
    recall = {k: 100 * v for k, v in card["evaluation"]["metrics"]["recall_healthy"].items()}
    healthy = "sensitivity {value:.0f} % (95 % CI {low:.0f}–{high:.0f})".format(**recall)
    assert healthy in found["By class"].text
    assert card["evaluation"]["interval"] in found["Uncertainty"].text


def test_a_validation_part_and_a_seed_of_nought_are_said(card):
    card["split"] |= {"training_files": 1000, "validation_files": 132, "test_files": 283}
    card["training"]["config"]["seed"] = 0
    found = by_name(card)
    assert "1,000 files to train, 132 to validate while it trains, 283 to test" in (
        found["19. Assignment to partitions"].text
    )
    assert "seed 0" in found["Training algorithm and settings"].text


def test_what_it_does_not_say_is_unknown(card):
    del card["split"]["left_out_files"]  # as on cards of the first KOP
    found = by_name(card)
    for name in ("Who developed it", "36. Demographic and clinical characteristics",
                 "33. Testing on external data", "44. Funding and the role of funders",
                 "10. Selection of data subsets"):  # fmt: skip
        assert found[name] == model_card.Item(name, UNKNOWN, False)


def numbers(text: str) -> set[str]:
    return set(re.findall(r"\d[\d,.]*\d|\d", text))


def test_nothing_is_invented(card):
    """Every number in the text is on the card, as it is or as a share in per cent."""
    plain = json.dumps(card, ensure_ascii=False)
    on_card = numbers(plain)
    values = [float(v) for v in re.findall(r"-?\d+\.?\d*(?:e-?\d+)?", plain)]
    allowed = on_card | {f"{v:,.0f}" for v in values} | {f"{100 * v:.0f}" for v in values}
    allowed |= {f"{v:g}" for v in values}
    readable = card["data"]["files"] - len(card["data"]["unreadable"])
    allowed |= {"95", f"{readable:,}", str(len(card["data"]["passed_over"]))}
    for section in sections(card):
        for item in section.items:
            assert numbers(item.text) <= allowed, item


def test_other_splits_and_calibration_are_followed(card):
    card = copy.deepcopy(card)
    card["split"] |= {
        "protocol": "radiograph", "folds": 5, "fold": 2, "conflicts": "drop", "left_out_files": 30,
        "same_radiograph": 0, "same_radiograph_share": 0.0, "identical": 0, "identical_share": 0.0,
    }  # fmt: skip
    card["calibration"] = kept(1.5)
    found = by_name(card)
    assert "By radiograph, fold 2 of 5" in found["19. Assignment to partitions"].text
    assert "30 files were left out" in found["10. Selection of data subsets"].text
    assert "level of the radiograph" in found["20. Level at which partitions are disjoint"].text
    assert "scores" not in found["Calibration"].text
    assert "temperature of 1.50" in found["Calibration"].text
    assert "largest probability" in found["Decision thresholds"].text


def test_a_card_that_says_little_is_no_error(card):
    bare = {k: card[k] for k in ("id", "title", "version", "network", "classes", "evaluation")}
    bare |= {"preparation": {}, "data": {}, "split": {"protocol": "random"}, "training": {},
             "versions": {}, "statements": []}  # fmt: skip
    bare["evaluation"] = {**card["evaluation"], "radiographs": None}
    bare["evaluation"]["metrics"] = {"accuracy": {"value": None, "low": None, "high": None}}
    known = {item.name for section in sections(bare) for item in section.items if item.known}
    assert "Version" in known and "Caveats" not in known and "By class" not in known
    assert "random split of the files" in by_name(bare)["Overall"].text


@pytest.mark.parametrize(
    ("damage", "item"),
    [
        ({"reference": 7}, "Paper or other resource"),
        ({"data": {"files": "many"}}, "35. Numbers included and excluded"),
        ({"data": {"files": 10, "unreadable": 3, "terms": ["none"]}}, "Terms"),
        ({"data": {"fingerprint": 1}}, "Source"),
        ({"preparation": [1]}, "Preprocessing"),
        ({"training": {"config": {"augmentation": 5}}}, "Training algorithm and settings"),
    ],
)
def test_what_is_damaged_is_said_and_the_rest_stays(card, damage, item):
    found = by_name({**card, **damage})
    assert not found[item].known and found["Version"].known and found["Overall"].known
    damaged = model_card.damaged({**card, **damage})
    assert item in damaged and not any(found[name].known for name in damaged)


def test_a_whole_card_has_nothing_damaged(card):
    assert model_card.damaged(card) == []


def test_as_a_document(card):
    text = model_card.to_markdown(card)
    assert text.startswith(f"# {card['title']}\n")
    assert text.count("\n## ") == len(sections(card))
    assert f"- **44. Funding and the role of funders.** {UNKNOWN}" in text
