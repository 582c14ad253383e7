"""The report as a value, in words and as a file of HTML."""

import json
import math
import pickle
import re

import numpy as np
import pytest

from kop_core import wording
from kop_core.evaluation import html, report, words
from kop_core.evaluation.intervals import UNDEFINED, Estimate
from kop_core.evaluation.model_card import Item, Section
from kop_core.evaluation.operating import OSTEOPOROSIS
from tests.evaluation.simulated import calibrated, skilled, table


@pytest.fixture(scope="module")
def found():
    return report(skilled(1, images=300, radiographs=120, skill=1.5), draws=100)


def all_numbers(value):
    if isinstance(value, dict):
        for v in value.values():
            yield from all_numbers(v)
    elif isinstance(value, list):
        for v in value:
            yield from all_numbers(v)
    elif isinstance(value, float):
        yield value


def degenerate():
    true = np.array([0, 2] * 30)
    yield "perfect, two classes", table(true, np.eye(3)[true])
    yield "one image", table([1], [[0.2, 0.5, 0.3]])
    yield "one class", table([2] * 50, np.full((50, 3), 1 / 3))
    yield "always the same", table(np.arange(90) % 3, np.tile([0.2, 0.3, 0.5], (90, 1)))
    yield "always wrong", table(true, np.eye(3)[2 - true])
    yield "one radiograph", table([0, 1, 2] * 20, np.tile(np.eye(3), (20, 1)), [7] * 60)
    yield "few", calibrated(np.random.default_rng(0), 25, most=2)


@pytest.mark.parametrize(("name", "given"), list(degenerate()), ids=[n for n, _ in degenerate()])
def test_whatever_the_predictions_there_is_a_report(name, given):
    found = report(given, draws=50)
    text = json.dumps(found.get_config(), allow_nan=False)
    assert all(math.isfinite(v) for v in all_numbers(json.loads(text)))
    page = html.page(found, "x")
    assert "nan" not in re.sub(r"<script.*?</script>", "", page, flags=re.S).lower().split()
    measured = found.evaluation
    for sentence in (
        *words.answer(measured, None),
        *words.calibration(found.calibration, measured),
        *words.operating(found.operating_points),
        *words.conformal(found.conformal),
        words.mistakes(measured),
    ):
        assert sentence and sentence.endswith(".") and "None" not in sentence, sentence


def test_as_plain_values(found):
    kept = found.get_config()
    assert list(kept) == [
        "images", "radiographs", "interval", "metrics", "confusion", "confusion_shares",
        "confusion_share_intervals", "calibration", "operating_points", "conformal",
    ]  # fmt: skip
    assert all(set(m) == {"value", "low", "high"} for m in kept["metrics"].values())
    for counts, shares in zip(kept["confusion"], kept["confusion_shares"]):
        assert shares == pytest.approx([c / sum(counts) for c in counts])
    assert len(kept["operating_points"]) == 6 and len(kept["calibration"]["bins"]) == 10


def test_a_page_can_keep_it(found):
    again = pickle.loads(pickle.dumps(found))
    assert again.get_config() == found.get_config()


def test_it_is_repeatable():
    given = skilled(1, images=283, radiographs=138, skill=1.5)
    one = report(given)
    assert report(given).get_config() == one.get_config()
    assert report(given, seed=1).get_config() != one.get_config()


def test_figures_in_words():
    assert words.share(Estimate(0.841, 0.788, 0.889)) == "84 % (79–89)"
    assert words.number(Estimate(0.931, 0.899, 0.958)) == "0.93 (0.90–0.96)"
    assert words.number(Estimate(0.0007, -0.0148, 0.0192), 3) == "0.001 (−0.015 to 0.019)"
    assert words.number(Estimate(-0.0001, -0.01, 0.01), 2) == "0.00 (−0.01 to 0.01)"
    assert wording.unbroken("84 % (79–89) of") == "84\u00a0% (79\u2060–\u206089) of"
    assert [wording.level(x) for x in (0, 0.5, 0.0404, 0.0042, 0.00001234, 0.9964, 1)] == [
        "0.00", "0.50", "0.04", "0.0042", "0.000012", "0.9964", "1.00"
    ]  # fmt: skip
    assert words.share(UNDEFINED) == words.number(UNDEFINED) == "not defined"


@pytest.mark.parametrize(
    ("split", "says"),
    [
        (None, "not known here"),
        ({"protocol": "random", "same_radiograph_share": 1.0}, "100 % of the test images"),
        ({"protocol": "random", "identical_share": 0.25}, "25 % of the test images"),
        ({"protocol": "random"}, "at random, file by file"),
        ({"protocol": "random", "same_radiograph_share": 0.0}, "at random, file by file"),
        ({"protocol": "radiograph", "same_radiograph_share": 0.0}, "No radiograph has copies"),
        ({"protocol": "by_radiograph"}, "may hold other radiographs of a test patient"),
        ({"protocol": "radiograph", "same_patient_share": 0.25}, "25 % of the test images are of"),
        ({"protocol": "radiograph", "same_patient_share": 0.0}, "No patient has images in both"),
        ({"protocol": "patient"}, "No patient has images in both"),
        ({"protocol": "radiograph", "same_radiograph_share": 0.3}, "Do not expect this"),
        ({"protocol": "else"}, "is not known"),
    ],
)
def test_what_a_split_lets_one_expect(split, says):
    assert says in words.trust(split)


def test_no_split_is_said_to_hold_in_another_hospital():
    for protocol, patients in (("patient", None), ("radiograph", 0.0), ("radiograph", 0.25),
                               ("radiograph", None)):  # fmt: skip
        said = words.trust({"protocol": protocol, "same_patient_share": patients})
        assert "those of another hospital" in said and "worse" in said and "clinic" not in said


def test_accuracy_is_held_against_the_most_frequent_label():
    true = np.array([0] * 70 + [1] * 10 + [2] * 20)
    always = report(table(true, np.tile([0.8, 0.1, 0.1], (100, 1))), draws=50)
    said = " ".join(words.answer(always.evaluation, None))
    assert "not clearly better than calling every image healthy" in said and "70 %" in said
    good = report(table(true, np.eye(3)[true]), draws=50)
    said = " ".join(words.answer(good.evaluation, None))
    assert "Calling every image healthy, the most frequent label, would be right in 70 %" in said


def test_unknown_radiographs_are_said(found):
    given = skilled(1)
    blind = type(given)(given.files, ("",) * len(given.files), given.true, given.probabilities)
    said = words.answer(report(blind, draws=20).evaluation, None)
    assert "too narrow" in said[-1]
    assert "too narrow" not in " ".join(words.answer(found.evaluation, None))


def test_sentences(found):
    said = words.operating(found.operating_points)
    assert len(said) == 2 and "To find 90 % of the images labelled osteoporosis" in said[0]
    assert "labelled osteopenia or osteoporosis" in said[1] and "specificity" in said[1]
    point = next(p for p in found.operating_points if p.condition is OSTEOPOROSIS)
    wrongly = round(100 * (1 - point.specificity.value))
    assert f"The cost: {wrongly} % of the images without it" in words.operating_point(point)
    assert "each radiograph counts once" in words.conformal(found.conformal)[0]
    rows = words.class_table(found.evaluation)
    assert [r["Class"] for r in rows] == [
        "Healthy", "Osteopenia", "Osteoporosis", "Mean of the classes", "Mean by images",
    ]  # fmt: skip
    assert rows[4]["Specificity"] == "" and rows[0]["F1"].endswith(")")
    for row in words.overall_table(found.evaluation):
        assert row["What it is"].endswith(".") and "(" in row["Value (95 % CI)"]


def test_the_sentence_on_temperature_follows_the_rule():
    over = report(calibrated(np.random.default_rng(4), 600, temperature=0.4), draws=100)
    said = " ".join(words.calibration(over.calibration, over.evaluation))
    assert "It helps" in said and "less sure" in said and "worth using" in said
    fine = report(calibrated(np.random.default_rng(2), 200), draws=100)
    assert "It is not used" in " ".join(words.calibration(fine.calibration, fine.evaluation))
    few = report(calibrated(np.random.default_rng(2), 30), draws=20)
    assert "none was fitted" in " ".join(words.calibration(few.calibration, few.evaluation))


def test_html_holds_everything_and_escapes_what_it_is_given(found):
    evil = '<script>alert("x")</script>'
    page = html.page(
        found, evil, {"protocol": "random", "same_radiograph_share": 0.81}, [evil],
        [Section(evil, (Item(evil, evil, True), Item(evil, "", False)))],
    )  # fmt: skip
    assert evil not in page and page.count("&lt;script&gt;") >= 4
    assert "random split, 81 % of test images have copies in training" in page
    assert page.count("Plotly.newPlot(") >= 6
    plotly = re.findall(r"<script>(.{1000000,}?)</script>", page, flags=re.S)
    assert len(plotly) == 1  # plotly.js once
    without = page.replace(plotly[0], "")
    assert len(without) < 500_000
    assert not re.search(r"""(src|href)=["']?(https?:)?//""", without)
    assert "default-src 'none'" in page and "prefers-color-scheme: dark" in page
    for heading in ("How good", "Where it fails", "What a target sensitivity costs"):
        assert f"<h2>{heading}</h2>" in page
    assert "not a medical device" in page


def test_html_of_predictions_alone_says_that_the_split_is_not_known(found):
    page = html.page(found, "predictions.csv")
    assert "split not known" in page and "not known here" in page


def test_a_card_in_two_parts_with_what_is_known(shipped):
    from kop_core.evaluation import model_card

    sections = model_card.sections(shipped.card)
    (card, first), (claim, second) = words.card_parts(sections)
    assert card.startswith("Model card") and claim.startswith("CLAIM 2024")
    assert re.search(r"\d+ of 44 items are known", claim)
    assert len(first) + len(second) == len(sections)
    assert not words.card_heading(second[0]).startswith("CLAIM")
    section = Section("Data", (Item("Source", "Kaggle.", True), Item("Consent", "?", False)))
    assert words.unknown(section) == "Not on the card: Consent."
    page = html.page_of(shipped, report(skilled(1), draws=20))
    assert "<details>" in page and "Not on the card" in page and shipped.version in page
