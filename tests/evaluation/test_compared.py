"""Several models side by side: who is tested against whom, the ensemble, CSV and HTML."""

from __future__ import annotations

import csv
import io
import json
from dataclasses import replace

import numpy as np
import pytest

from kop_core import model_store
from kop_core.errors import DataSetError, ModelError
from kop_core.evaluation import (
    Predictions,
    apply_temperature,
    compared,
    compared_html,
    evaluate,
    published,
)
from kop_core.evaluation import compared_words as words
from kop_core.evaluation.compared_csv import COLUMNS, to_csv
from kop_core.evaluation.comparison import differences
from kop_core.evaluation.ensemble import ensemble
from kop_core.timing import Speed
from tests.altered import another
from tests.calibrations import kept
from tests.evaluation.simulated import skilled

BY_RADIOGRAPH = {"protocol": "radiograph", "same_radiograph_share": 0.0, "identical_share": 0.0}


def quick(predictions: Predictions) -> compared.Measured:
    return compared.measure(predictions, draws=100)


def quick_tests(tables, names):
    return differences(tables, names, draws=199)


def side_by_side(models, *figures, with_ensemble=False) -> compared.Compared:
    entries, failed = compared.read(models, quick)
    return compared.compare(
        entries, figures or compared.FIGURES, with_ensemble, failed, quick, quick_tests
    )


@pytest.fixture(scope="module")
def four(tmp_path_factory, shipped):
    """Three models of one test part, two of them with one title, and one of another part."""
    folder = tmp_path_factory.mktemp("models")
    split = {**shipped.card["split"], **BY_RADIOGRAPH}
    first = another(shipped, folder, "first", title="=Twice", split=split)
    second = another(shipped, folder, "second", title="=Twice", noise=2.5, seed=1)
    third = another(shipped, folder, "third", noise=1.0, seed=2, calibration=kept(2.0))
    part = np.arange(283) < 150
    other = another(shipped, folder, "other", part=part, cautions=["<b>A fault.</b>"])
    return first, second, third, other


@pytest.fixture(scope="module")
def found(four):
    return side_by_side(four)


def test_only_models_of_one_test_part_are_tested(found):
    assert found.parts == (1, 1, 1, 2)
    assert [(p.first, p.second, p.comparable) for p in found.pairs] == [
        ("first", "second", True),
        ("first", "third", True),
        ("first", "other", False),
        ("second", "third", True),
        ("second", "other", False),
        ("third", "other", False),
    ]
    config = found.get_config()
    assert config["comparable"] is False and "only 150 of the 283 images" in config["reason"]
    untested = config["pairs"][2]
    assert untested["reason"].startswith("Other: It was tested on only 150")
    assert "differences" not in untested
    json.dumps(config, allow_nan=False)


def test_figures_and_tests_are_those_of_the_predictions(found, four):
    for entry, model in zip(found.entries, four):
        said = Predictions.read(model.folder / "predictions.csv")
        assert entry.evaluation.metrics == evaluate(said, draws=100).metrics
    assert set(compared.METRICS) == set(found.entries[0].evaluation.metrics)
    pair = found.pairs[0]
    tables = [e.predictions for e in found.entries[:2]]
    expected = differences(tables, compared.FIGURES, draws=199)[0, 1]
    assert pair.differences == expected
    assert pair.differences["accuracy"].low > 0 and pair.differences["accuracy"].p < 0.05


def test_holm_is_over_the_pairs_that_were_tested(found):
    p = sorted(pair.differences["accuracy"].p for pair in found.tested)
    corrected = sorted(pair.holm["accuracy"] for pair in found.tested)
    assert corrected[0] == pytest.approx(min(1, 3 * p[0])) and corrected[-1] >= p[-1]
    for pair in found.tested:
        assert pair.mcnemar_holm >= pair.mcnemar.p


def test_two_of_one_title_are_told_apart_by_their_ids(found):
    assert [e.label for e in found.entries[:3]] == ["=Twice (first)", "=Twice (second)", "Third"]


def test_two_of_one_id_are_told_apart_by_their_folders(four, tmp_path):
    elsewhere = another(four[0], tmp_path, "first", noise=1)
    entries, failed = compared.read([four[0], elsewhere, four[0]], quick)
    assert not failed
    assert [e.key for e in entries] == [str(four[0].folder), str(elsewhere.folder)]


def test_the_ensemble_is_the_mean_of_what_is_served(four):
    found = side_by_side(four[:3], "accuracy", with_ensemble=True)
    last = found.entries[-1]
    tables = [e.predictions.probabilities for e in found.entries[:3]]
    tables[2] = apply_temperature(tables[2], 2.0)
    assert np.allclose(last.predictions.probabilities, np.mean(tables, axis=0))
    assert last.members == ("first", "second", "third") and last.key == "ensemble"
    assert last.evaluation.metrics == evaluate(last.predictions, draws=100).metrics
    assert last.parameters == sum(e.parameters for e in found.entries[:3])
    assert found.parts == (1, 1, 1, 1) and len(found.tested) == 6
    assert "third with the temperature on its card" in " ".join(words.ensemble_note(found))
    # Its badge is that of the member which warns.
    assert last.split == four[1].card["split"]


def test_no_ensemble_of_other_test_parts(four):
    found = side_by_side(four, "accuracy", with_ensemble=True)
    assert len(found.entries) == 4
    assert "must be tested on the same images. Other: It was tested on only" in found.no_ensemble
    assert "two models or more" in side_by_side(four[:1], with_ensemble=True).no_ensemble
    with pytest.raises(DataSetError, match="not of the same images"):
        ensemble([found.entries[0].predictions, found.entries[3].predictions])
    with pytest.raises(DataSetError, match="two models"):
        ensemble([found.entries[0].predictions])


def test_the_order_of_the_rows_does_not_matter_to_an_ensemble():
    a, b = skilled(0), skilled(0, skill=2.0)
    places = np.random.default_rng(0).permutation(len(b.files))
    mixed = Predictions(
        tuple(b.files[i] for i in places), tuple(b.radiographs[i] for i in places),
        b.true[places], b.probabilities[places],
    )  # fmt: skip
    assert np.array_equal(ensemble([a, b]).probabilities, ensemble([a, mixed]).probabilities)


def test_models_that_cannot_be_read_are_named_and_the_rest_is_compared(four, tmp_path, shipped):
    altered = another(shipped, tmp_path, "altered")
    with (altered.folder / "predictions.csv").open("a") as stream:
        stream.write("extra.png,R1,healthy,1,0,0\n")
    classes = another(shipped, tmp_path, "classes")
    table = classes.folder / "predictions.csv"
    table.write_text(table.read_text().replace("p_osteopenia", "p_arthrosis", 1))
    figures = another(shipped, tmp_path, "figures")
    confusion = {**figures.card["evaluation"], "confusion": [[1, 0, 0], [0, 1, 0], [0, 0, 1]]}
    figures = replace(figures, card={**figures.card, "evaluation": confusion})
    found = side_by_side([four[0], altered, classes, figures, four[1]], "accuracy")
    assert [e.key for e in found.entries] == ["first", "second"] and len(found.tested) == 1
    reasons = dict(found.failed)
    assert "was altered after its card was written" in reasons["altered"]
    assert "lacks the column p_osteopenia" in reasons["classes"]
    assert "are not those of its predictions" in reasons["figures"]


def test_a_history_that_was_altered_is_no_curve(tmp_path, shipped):
    model = another(shipped, tmp_path, "one", history="epoch,val_loss\n1,0.5\n2,0.4\n")
    assert compared.read([model], quick)[0][0].history == (
        {"epoch": 1.0, "val_loss": 0.5}, {"epoch": 2.0, "val_loss": 0.4},
    )  # fmt: skip
    (model.folder / "history.csv").write_text("epoch,val_loss\n1,0.1\n")
    assert compared.read([model], quick)[0][0].history == ()
    broken = another(shipped, tmp_path, "two", history="epoch,val_loss\none,0.5\n")
    assert compared.read([broken], quick)[0][0].history == ()


def test_find(four, tmp_path, shipped):
    folder = four[0].folder.parent
    assert compared.find("second", folder).folder == four[1].folder
    assert compared.find(str(four[2].folder), tmp_path).id == "third"
    run = another(shipped, tmp_path / "runs", "2026-11-25-01-paper")
    (run.folder / "run.json").write_text("{}")
    assert compared.find(run.id, folder, tmp_path / "runs").folder == run.folder
    (run.folder / "card.json").unlink()
    with pytest.raises(ModelError, match="has not finished"):
        compared.find(run.id, folder, tmp_path / "runs")
    with pytest.raises(ModelError, match=r"no model called 'none'.*Nor is there a run or a folder"):
        compared.find("none", folder, tmp_path / "runs")


def test_no_such_figure(four):
    with pytest.raises(DataSetError, match=r"no figure 'luck'\. Known: accuracy"):
        side_by_side(four[:2], "luck")


def test_a_card_whose_figures_are_not_those_of_its_predictions_is_refused(four):
    model = four[0]
    for name, value in (("accuracy", 0.99), ("macro_roc_auc", 0.5)):
        metrics = {**model.card["evaluation"]["metrics"], name: {"value": value}}
        evaluation = {**model.card["evaluation"], "metrics": metrics}
        said = replace(model, card={**model.card, "evaluation": evaluation})
        entries, ((_, why),) = compared.read([said], quick)
        assert not entries and "are not those of its predictions" in why


def without_radiographs(of, folder, name: str) -> model_store.Model:
    """Return a copy of a model which does not know what radiographs its images show."""
    model = another(of, folder, name)
    said = Predictions.read(model.folder / "predictions.csv")
    replace(said, radiographs=("",) * len(said.files)).write(model.folder / "predictions.csv")
    checksum = model_store.checksum(model.folder / "predictions.csv")
    card = {**model.card, "checksums": {**model.card["checksums"], "predictions.csv": checksum}}
    (model.folder / "card.json").write_text(json.dumps(card))
    return model_store.open_model(model.folder)


def test_files_are_not_called_radiographs_where_these_are_not_known(four, tmp_path):
    one, other = (without_radiographs(four[i], tmp_path, f"bare-{i}") for i in (1, 2))
    bare = side_by_side([one, other], "accuracy")
    assert bare.tested[0].by_radiograph is False
    assert bare.get_config()["pairs"][0]["by_radiograph"] is False
    votes = bare.tested[0].mcnemar
    assert votes.first + votes.second + votes.ties == 283
    assert "by a bootstrap over files. Which files show the same" in words.interval_note(bare)
    assert "Files for first : second" in words.mcnemar_table(bare)[0]
    assert "Here files take the place of radiographs" in words.how_tested(bare)
    tables = (e.predictions for e in bare.entries)
    note = words.disagreement_note(compared.disagreements(*tables), "a", "b")
    assert "files, of which copies are not known" in note
    # One that knows them lends them to all of its test part.
    mixed = side_by_side([one, four[0], other], "accuracy")
    assert all(pair.by_radiograph for pair in mixed.tested)
    known = next(p for p in mixed.tested if (p.first, p.second) == (one.id, other.id))
    tables = [four[1], four[2]]
    expected = side_by_side(tables, "accuracy").tested[0]
    assert known.differences["accuracy"].p == expected.differences["accuracy"].p
    assert known.mcnemar == expected.mcnemar
    assert "over files for bare-1, bare-2" in words.interval_note(mixed)
    assert "Radiographs for first : second" in words.mcnemar_table(mixed)[0]


def test_an_ensemble_that_guesses_is_said_to(four, tmp_path):
    noise = [another(four[0], tmp_path, f"noise-{i}", noise=60, seed=i) for i in (1, 2)]
    said = words.warnings(side_by_side(noise, "accuracy", with_ensemble=True))
    assert any(
        s.startswith("ensemble: On its test part this model's verdicts cannot") for s in said
    )
    assert sum("both legs" in s for s in said) == 1


# What they disagree on.


def test_disagreements_name_each_radiograph_once_for_each_way(found):
    first, second = (e.predictions for e in found.entries[:2])
    cases = compared.disagreements(first, second)
    apart = np.flatnonzero(first.predicted != second.predicted)
    assert len(cases) + sum(case.copies for case in cases) == len(apart)
    assert {case.file for case in cases} <= {first.files[i] for i in apart}
    assert all(case.first != case.second for case in cases)
    least = [min(case.first_score, case.second_score) for case in cases]
    assert least == sorted(least, reverse=True)
    said = words.disagreement_note(cases, "first", "second")
    right = sum(case.first == case.true for case in cases)
    radiographs = len({case.radiograph for case in cases})
    assert f"disagree on {len(cases)} cases of {radiographs} radiographs" in said
    assert f"{right} where first calls" in said
    assert not compared.disagreements(first, first)
    assert "by the same name" in words.disagreement_note((), "a", "b")


# In words, as CSV, as HTML.


def test_words_do_not_claim_what_was_not_found(found):
    said = " ".join(words.answer(found))
    assert "pairs" in said and "were not tested" in said
    alike = side_by_side([found.entries[0].model, found.entries[2].model], "brier_score")
    (sentence,) = words.answer(alike)
    assert ("cannot be told apart" in sentence) == (alike.tested[0].differences[
        "brier_score"].p > 0.05)  # fmt: skip
    assert words.p_value(0.0004) == "under 0.001" and words.p_value(1.0) == "1.00"
    assert words.p_value(0.0312) == "0.031" and words.p_value(None) == "not defined"


def test_a_split_that_leaks_beside_one_that_does_not_is_a_warning(found, four):
    said = words.warnings(found)
    assert "says nothing of which is better for a new patient" in said[0]
    assert said[0].startswith("second, third: random split, 100 %")
    assert any("first, second, third" in s and "both legs" in s for s in said[1:])
    assert not any("new patient" in s for s in words.warnings(side_by_side(four[1:3], "accuracy")))


def of_splits(found, **given) -> compared.Compared:
    """Return models side by side, by name: the number of the test part, and the split."""
    entries = tuple(
        replace(found.entries[0], key=name, split=split, cautions=())
        for name, (_, split) in given.items()
    )
    return compared.Compared(entries, tuple(part for part, _ in given.values()), (), ("accuracy",))


RANDOM = {"protocol": "random", "same_radiograph_share": 1.0}
UNKNOWN = {"protocol": "unknown"}


def test_each_model_is_warned_about_with_the_split_that_is_its_own(found):
    by_patient = {"protocol": "patient", "same_radiograph_share": 0.0}
    four = {"a": (1, RANDOM), "b": (1, UNKNOWN), "c": (1, BY_RADIOGRAPH), "d": (1, by_patient)}
    (said,) = words.warnings(of_splits(found, **four))
    assert said.startswith(
        "a: random split, 100 % of test images have copies in training. b: split unknown. "
        "c: by radiograph. d: by patient. "
    )
    assert "A model that has, or may have, seen copies of its test images may recognise" in said
    (known,) = words.warnings(of_splits(found, a=(1, RANDOM), c=(1, BY_RADIOGRAPH)))
    assert "A model that has seen copies of its test images recognises" in known


def test_models_of_other_test_parts_are_not_warned_about_together(found):
    elsewhere = {"e": (2, BY_RADIOGRAPH), "f": (2, UNKNOWN)}
    assert not words.warnings(of_splits(found, a=(1, RANDOM), e=(2, BY_RADIOGRAPH)))
    one, other = words.warnings(of_splits(found, a=(1, RANDOM), c=(1, BY_RADIOGRAPH), **elsewhere))
    assert one.startswith("a: random split, 100 %") and "c: by radiograph. A model" in one
    assert other.startswith("f: split unknown. e: by radiograph. A model that has, or may have")


def test_titles_of_figures():
    titles = [words.title(name) for name in compared.METRICS]
    assert len(set(titles)) == len(titles)
    assert words.title("recall_osteoporosis") == "Sensitivity, osteoporosis"
    assert words.title("macro_roc_auc") == "Macro ROC AUC" and not words.is_share("macro_roc_auc")
    assert words.title("average_precision_healthy") == "Average precision, healthy"


def test_the_csv_holds_everything(found):
    timed = Speed(12.5, 11.0, 15.0, 20, "a machine")
    entries = (replace(found.entries[0], speed=timed), *found.entries[1:])
    found = replace(found, entries=entries, failed=(("gone", "It is gone."),))
    rows = list(csv.DictReader(io.StringIO(to_csv(found))))
    assert tuple(rows[0]) == COLUMNS
    kinds = {row["kind"] for row in rows}
    assert kinds == {
        "metric", "confusion", "caution", "disagreement", "size", "speed", "roc",
        "precision-recall", "reliability", "learning curve", "difference", "mcnemar",
        "not tested", "not compared", "published",
    }  # fmt: skip
    (accuracy,) = [
        r for r in rows
        if (r["kind"], r["model"], r["figure"]) == ("metric", "second", "accuracy")
    ]  # fmt: skip
    figure = found.entries[1].evaluation.metrics["accuracy"]
    assert [float(accuracy[k]) for k in ("value", "low", "high")] == [
        figure.value, figure.low, figure.high,
    ]  # fmt: skip
    assert accuracy["split"] == "random split, 100 % of test images have copies in training"
    counts = [r for r in rows if (r["kind"], r["model"]) == ("confusion", "second")]
    confusion = found.entries[1].evaluation.confusion
    assert [int(r["value"]) for r in counts] == confusion.ravel().tolist()
    first, second = (e.predictions for e in found.entries[:2])
    apart = [r for r in rows if r["kind"] == "disagreement" and r["other"] == "second"]
    assert sum(int(r["images"]) for r in apart) == (first.predicted != second.predicted).sum()
    paper = [r for r in rows if r["kind"] == "published"]
    assert len(paper) == len(published.TABLE_3) and {r["low"] for r in paper} == {""}
    assert [r["split"] for r in paper].count("not given") == len(paper) - 1
    assert not any(str(v).startswith("=") for r in rows for v in r.values())


def test_the_html_is_whole_and_plain(found):
    page = compared_html.page(found)
    assert page.startswith("<!doctype html>") and page.count('class="plotly-graph-div"') == 9
    assert "<b>A fault.</b>" not in page and "&lt;b&gt;A fault.&lt;/b&gt;" in page
    for text in ("copies in training", "McNemar", "not given", "It was tested on only 150"):
        assert text in page
    measured, literature = page.index("How good each is"), page.index("The literature, on other")
    assert measured < literature and "Abubakar" not in page[measured:literature]


def test_the_html_says_what_the_page_says(found):
    page = compared_html.page(replace(found, failed=(("<gone>", "It is gone."),)))
    assert "<p>&lt;gone&gt; is not compared. It is gone.</p>" in page
    assert "Of the outputs before any temperature on a card" in page


def test_a_run_is_a_model_too(shipped, four):
    again = model_store.open_model(shipped.folder)
    found = side_by_side([again, four[0]], "accuracy")
    assert found.tested[0].differences["accuracy"].value == 0
    assert found.tested[0].differences["accuracy"].p == 1 == found.tested[0].mcnemar.p
