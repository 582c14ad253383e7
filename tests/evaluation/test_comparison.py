"""Two models on one test part: when they can be compared, and the interval of the difference."""

from __future__ import annotations

import json
from dataclasses import replace

import numpy as np
import pytest
from scipy.stats import permutation_test, rankdata

from kop_core import model_store
from kop_core.errors import DataSetError
from kop_core.evaluation import Predictions, evaluate
from kop_core.evaluation.comparison import (
    _exchanged,
    _ranks,
    differences,
    on_shared_radiographs,
    paired_difference,
    paired_differences,
    read_predictions,
    same_test_part,
)
from tests.evaluation.simulated import equally_good, skilled, softmax, table

METRICS = ("accuracy", "balanced_accuracy", "macro_f1", "macro_roc_auc")


def two(seed=0, radiographs=60, of_a=1.5, of_b=1.5, shared=1.0) -> tuple[Predictions, Predictions]:
    """Return two models on the same images; ``shared`` is how much what is hard is so for both."""
    rng = np.random.default_rng(seed)
    group = np.repeat(np.arange(radiographs), 2)
    true = rng.integers(0, 3, radiographs)[group]
    common = rng.normal(0, shared, (radiographs, 3))[group]
    tables = [
        table(true, softmax(common + rng.normal(0, 0.5, (len(group), 3)) + s * np.eye(3)[true]),
              group)
        for s in (of_a, of_b)
    ]  # fmt: skip
    return tables[0], tables[1]


@pytest.mark.parametrize("metric", METRICS)
def test_the_value_is_the_difference_of_the_figures(metric):
    a, b = two(of_a=2.0)
    found = paired_difference(a, b, metric)
    of_a, of_b = (evaluate(p, draws=10).metrics[metric].value for p in (a, b))
    assert found.value == pytest.approx(of_a - of_b)
    assert found.low < found.value < found.high


def test_it_turns_with_the_order_of_the_models_not_of_the_rows():
    a, b = two()
    there, back = paired_difference(a, b, "accuracy"), paired_difference(b, a, "accuracy")
    assert (back.value, back.low, back.high) == pytest.approx(
        (-there.value, -there.high, -there.low)
    )
    places = np.random.default_rng(3).permutation(len(b.files))
    mixed = Predictions(
        tuple(b.files[i] for i in places),
        tuple(b.radiographs[i] for i in places),
        b.true[places],
        b.probabilities[places],
    )
    assert paired_difference(a, mixed, "accuracy") == there


def test_pairing_narrows_the_interval_where_both_find_the_same_images_hard():
    a, b = two(shared=3.0)
    found = paired_difference(a, b, "accuracy")
    apart = [evaluate(p).metrics["accuracy"] for p in (a, b)]
    unpaired = np.hypot(*(e.high - e.low for e in apart))
    assert found.high - found.low < 0.8 * unpaired


def test_copies_are_no_evidence_of_their_own():
    a, b = two(radiographs=40)
    files_apart = [
        Predictions(p.files, ("",) * len(p.files), p.true, p.probabilities) for p in (a, b)
    ]
    # What is right or wrong is nearly the same for the two files of a radiograph.
    whole, apart = paired_difference(a, b, "accuracy"), paired_difference(*files_apart, "accuracy")
    assert whole.value == apart.value
    assert whole.high - whole.low != apart.high - apart.low
    # Radiographs that only one of the tables names are used for both.
    assert paired_difference(files_apart[0], b, "accuracy") == whole


def test_the_interval_holds_the_truth_about_as_often_as_it_says():
    held = 0
    for seed in range(120):
        found = paired_difference(*two(seed), "accuracy", draws=300)
        held += found.low <= 0 <= found.high  # the two are equally skilled
    assert held >= 108  # 95 % of 120 is 114


def test_the_same_predictions_are_not_certainly_the_same():
    a, _ = two(radiographs=30)
    found = paired_difference(a, a, "accuracy")
    assert found.value == 0
    assert found.high == pytest.approx(1 - 0.025 ** (1 / 30)) and found.low == -found.high


def test_several_at_once_are_the_same_as_one_by_one():
    a, b = two()
    found = paired_differences(a, b, METRICS, draws=200)
    assert found == {m: paired_difference(a, b, m, draws=200) for m in METRICS}


def test_a_figure_that_is_not_defined_has_no_difference():
    one_class = table([0, 0, 0], [[0.9, 0.1, 0], [0.2, 0.8, 0], [0.6, 0.4, 0]])
    assert paired_difference(one_class, one_class, "macro_roc_auc").value is None


def test_other_images_and_other_labels_are_refused():
    a, b = skilled(0), skilled(1)
    with pytest.raises(DataSetError, match="label the same images differently"):
        paired_difference(a, b, "accuracy")
    with pytest.raises(DataSetError, match="not of the same images"):
        paired_difference(a, a.part(a.true == 0), "accuracy")


# Tests of differences.


def test_the_exchange_is_the_permutation_test_of_scipy():
    # Differences of right and wrong by radiograph, exchanged: a test of signs of their sum.
    a, b = two(3, radiographs=40, of_a=1.9)
    found = differences([a, b], ("accuracy",), draws=20_000)[0, 1]["accuracy"]
    gained = (a.predicted == a.true).astype(float) - (b.predicted == b.true)
    by_radiograph = np.bincount(a.groups, gained)
    expected = permutation_test(
        (by_radiograph, np.zeros_like(by_radiograph)),
        lambda x, y, axis: (x - y).sum(axis=axis), permutation_type="samples", vectorized=True,
        n_resamples=20_000, rng=np.random.default_rng(1),
    ).pvalue  # fmt: skip
    assert found.p == pytest.approx(expected, abs=0.01)
    assert found.value == pytest.approx(gained.mean())
    assert found.estimate == paired_difference(a, b, "accuracy", draws=20_000)


def test_ranks_are_those_of_scipy():
    scores = np.round(np.random.default_rng(0).random((50, 3)), 1)
    assert np.array_equal(_ranks(scores), rankdata(scores, axis=0))


@pytest.mark.parametrize(("metric", "draws"), [("accuracy", 1000), ("macro_roc_auc", 500)])
def test_equally_good_models_differ_as_often_as_the_level_says(metric, draws):
    # Classes as in paper1947, one to three copies of a radiograph: a tenth is of one class.
    rng, found = np.random.default_rng(11), []
    for seed in range(draws):
        a, b = equally_good(rng, 138, 3)
        found.append(_exchanged(a, b, a.groups, (metric,), 199, seed)[metric] <= 0.05)
    assert 0.03 <= np.mean(found) <= 0.07


def test_copies_taken_for_evidence_would_find_differences_that_are_not_there():
    rng, found = np.random.default_rng(2), []
    for seed in range(300):
        a, b = equally_good(rng, 100, 3, own=0.1)
        by_file = _exchanged(a, b, np.arange(len(a.files)), ("accuracy",), 199, seed)
        found.append(by_file["accuracy"] <= 0.05)
    assert np.mean(found) > 0.08


def test_a_difference_that_is_there_is_found():
    a, b = two(1, radiographs=120, of_a=2.5, of_b=1.0)
    for name, found in differences([a, b], METRICS, draws=999)[0, 1].items():
        assert found.p <= 0.01 and found.low > 0, name


def test_scores_of_another_scale_are_no_difference_of_order():
    a, _ = two(2)
    logits = np.log(a.probabilities[:, :1])  # one class's order kept, whatever the scale
    sharper = np.hstack([np.exp(3 * logits), np.full((len(logits), 2), 0.5)])
    sharper /= np.maximum(sharper.sum(axis=1, keepdims=True), 1e-9)
    b = Predictions(a.files, a.radiographs, a.true, sharper)
    found = differences([a, b], ("roc_auc_healthy",), draws=199)[0, 1]["roc_auc_healthy"]
    assert found.value == pytest.approx(0, abs=1e-12) and found.p == 1


def test_the_same_predictions_do_not_differ():
    a, _ = two(radiographs=30)
    for found in differences([a, a], METRICS, draws=99)[0, 1].values():
        assert found.value == 0 and found.p == 1


def test_every_pair_and_turned_around():
    a, b = two(4)
    c, _ = two(4, of_a=2.5)
    c = Predictions(a.files, a.radiographs, a.true, c.probabilities)
    found = differences([a, b, c], METRICS, draws=200)
    assert list(found) == [(0, 1), (0, 2), (1, 2)]
    back = differences([b, a], METRICS, draws=200)[0, 1]
    for name, there in found[0, 1].items():
        assert back[name].value == pytest.approx(-there.value)
        assert back[name].p == pytest.approx(there.p)
    assert differences([], METRICS) == {}


def test_what_is_not_defined_has_no_p_value():
    one_class = table([0, 0, 0], [[0.9, 0.1, 0], [0.2, 0.8, 0], [0.6, 0.4, 0]])
    found = differences([one_class, one_class], ("macro_roc_auc",), draws=99)[0, 1]
    assert found["macro_roc_auc"].get_config() == dict.fromkeys(("value", "low", "high", "p"))


@pytest.fixture
def pair(models, shipped):
    """The shipped model and a copy whose files may be changed."""
    model_store.publish(models / shipped.id, "copy", models, title="A copy")
    return model_store.get(shipped.id, models), models / "copy"


def change(folder, predictions: str | None = None, **card) -> model_store.Model:
    kept = json.loads((folder / "card.json").read_text()) | card
    if predictions is not None:
        (folder / "predictions.csv").write_text(predictions)
        kept["checksums"]["predictions.csv"] = model_store.checksum(folder / "predictions.csv")
    (folder / "card.json").write_text(json.dumps(kept))
    return model_store.open_model(folder)


def test_the_same_test_part(pair):
    model, folder = pair
    assert same_test_part(model, model_store.open_model(folder)) == (True, "")


def test_other_data(pair):
    model, folder = pair
    other = change(folder, data={**model.card["data"], "fingerprint": "0" * 64, "name": "clinic"})
    assert same_test_part(model, other) == (False, "It was tested on other data (clinic).")
    unknown = change(folder, data={"name": "clinic"})
    why = "What data it was trained and tested on is not on its card."
    assert same_test_part(model, unknown) == (False, why)
    assert "What data A copy was trained" in same_test_part(unknown, model)[1]


def test_other_images_of_the_same_data(pair):
    model, folder = pair
    lines = (folder / "predictions.csv").read_text().splitlines(keepends=True)
    other = change(folder, "".join(lines[:101]))
    same, why = same_test_part(model, other)
    assert not same and why == "It was tested on only 100 of the 283 images of this test part."
    assert "100 of its 283 test images" in same_test_part(other, model)[1]


def test_other_labels(pair):
    model, folder = pair
    text = (folder / "predictions.csv").read_text()
    other = change(folder, text.replace(",healthy,", ",osteopenia,", 1))
    assert same_test_part(model, other) == (False, "Its test images have other labels.")


def test_altered_predictions_are_not_compared(pair):
    model, folder = pair
    with (folder / "predictions.csv").open("a") as stream:
        stream.write("extra.png,R1,healthy,1,0,0\n")
    other = model_store.open_model(folder)
    same, why = same_test_part(model, other)
    assert (
        not same and why == "The predictions.csv of A copy was altered after its card was written."
    )
    with pytest.raises(DataSetError, match="was altered"):
        read_predictions(other)


# What is known of the radiographs.


def under(table: Predictions, names: list[str]) -> Predictions:
    return replace(table, radiographs=tuple(names))


def test_radiographs_are_those_that_any_table_knows_whichever_comes_first():
    a, b = two(radiographs=40)
    coarse = under(b, [f"G{place // 8}" for place in range(len(b.files))])
    unknown = under(b, [""] * len(b.files))
    for other in (coarse, unknown, b):
        there, back = (
            differences(tables, ("accuracy", "macro_roc_auc"), draws=199)[0, 1]
            for tables in ([a, other], [other, a])
        )
        for name, found in there.items():
            assert found.value == pytest.approx(-back[name].value)
            # Draws are numbered by the first table; what is drawn from is the same.
            assert found.low == pytest.approx(-back[name].high, abs=0.02)
            assert found.high == pytest.approx(-back[name].low, abs=0.02)
            assert found.p == pytest.approx(back[name].p, abs=0.1)
    one, other = on_shared_radiographs([a, coarse])
    for known in (a, coarse):  # what is together in either is together
        for name in set(known.radiographs):
            assert len({one.groups[i] for i, r in enumerate(known.radiographs) if r == name}) == 1
    assert np.array_equal(one.groups, other.groups)
    same, _ = on_shared_radiographs([a, unknown])
    assert same.radiographs == a.radiographs and same.by_radiograph


def test_a_radiograph_known_to_one_table_is_not_one_of_that_name_in_another():
    a, b = two(radiographs=2)
    half = len(a.files) // 2
    a = under(a, ["R1"] * half + [""] * (len(a.files) - half))
    b = under(b, [""] * half + ["R1"] * (len(b.files) - half))
    one, other = on_shared_radiographs([a, b])
    assert one.radiographs == other.radiographs and len(set(one.radiographs)) == 2
    nothing = under(a, [""] * len(a.files))
    assert on_shared_radiographs([nothing, nothing])[0].radiographs == nothing.radiographs
