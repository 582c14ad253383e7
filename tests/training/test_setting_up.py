"""What a person is told before a run starts, and that it is what the run then does."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import pytest

from kop_core.classes import CLASS_NAMES
from kop_core.datasets import DataSet, Item, Split, scan
from kop_core.datasets.feeding import Augmentation
from kop_core.errors import DataSetError
from kop_core.training import TrainingConfig, setting_up, train
from kop_core.training.run_folder import RunFolder
from tests.datasets.reports import facts, make_report

CONFIG = TrainingConfig(network="small", epochs=1, seed=3, batch_size=8, options={},
                        precision="float32", learning_rate=0.02)  # fmt: skip
WATCHED = replace(CONFIG, validation_share=0.25, keep="best", patience=2)


def collection(**counts: tuple[int, int]) -> DataSet:
    """A made-up data set: of each class so many radiographs, of so many files each."""
    items = [
        Item(f"{true}/{r}-{f}.png", true, f"{true} {r}", f"{true}{r}-{f}")
        for true, (radiographs, files) in counts.items()
        for r in range(radiographs)
        for f in range(files)
    ]
    return DataSet(Path("made up"), tuple(items))


def report_of(data: DataSet):
    """An audit that found what the data set says of itself."""
    found = tuple(facts(i.true, file=i.file, radiograph=i.radiograph) for i in data.items)
    return replace(make_empty_report(), files=found)


def make_empty_report():
    from kop_core.datasets.audit.report import AuditReport

    return AuditReport(Path("made up"), "made up", "", (), (), (), (), (), (), {}, 0.0)


ENOUGH = collection(healthy=(10, 2), osteopenia=(10, 2), osteoporosis=(10, 2))


# What forbids every run.


def faults(data: DataSet) -> list[str]:
    return setting_up.faults_of_data(data, report_of(data))


def test_nothing_is_said_against_data_that_can_be_trained_on():
    assert faults(ENOUGH) == []
    assert faults(collection(healthy=(3, 3), osteopenia=(3, 3), osteoporosis=(2, 1))) == []


def test_one_class_is_nothing_to_tell_apart():
    (said,) = faults(collection(osteopenia=(600, 2)))
    assert said.startswith("All 1,200 files are of one class (osteopenia): there is nothing to")


def test_a_class_that_is_not_there_is_named():
    (said,) = faults(collection(healthy=(20, 2), osteoporosis=(20, 2)))
    assert said.startswith("There is no file of the class osteopenia.")


def test_ten_images_are_too_few():
    (said,) = faults(collection(healthy=(4, 1), osteopenia=(3, 1), osteoporosis=(3, 1)))
    assert "10 files are too few" in said and "of a test part of 2 files each decides 50 %" in said
    (said,) = faults(collection(healthy=(2, 1), osteopenia=(2, 1), osteoporosis=(2, 1)))
    assert "of a test part of 1 file each decides 100 %" in said
    one_less = collection(healthy=(7, 1), osteopenia=(6, 1), osteoporosis=(6, 1))
    assert len(one_less.items) == setting_up.MIN_FILES - 1 and "19 files" in faults(one_less)[0]


def test_a_class_of_one_radiograph_is_named_with_its_files():
    data = collection(healthy=(20, 2), osteopenia=(1, 1), osteoporosis=(1, 5))
    assert [s.split(". ")[0] for s in faults(data)] == [
        "Of the class osteopenia there is 1 file of one radiograph",
        "Of the class osteoporosis there are 5 files, all of one radiograph",
    ]
    # Several names of what the audit found to be one radiograph do not help.
    data = collection(healthy=(20, 2), osteopenia=(5, 1), osteoporosis=(5, 1))
    report = report_of(data)
    same = [replace(f, radiograph="G1") if f.true == "osteopenia" else f for f in report.files]
    (said,) = setting_up.faults_of_data(data, replace(report, files=tuple(same)))
    assert "osteopenia there are 5 files, all of one radiograph" in said


def test_everything_that_is_wrong_is_said_at_once():
    said = faults(collection(healthy=(1, 1), osteoporosis=(2, 2)))
    assert ["no file of" in s for s in said] == [True, False, False]
    assert "5 files are too few" in said[1] and "class healthy there is 1 file" in said[2]


def test_only_files_that_can_be_read_count():
    report = report_of(ENOUGH)
    (said,) = setting_up.faults_of_data(ENOUGH, replace(report, files=()))
    assert said == "No file of the data set could be read, so there is nothing to train on."
    readable = tuple(f for f in report.files if f.true != "healthy")
    (said,) = setting_up.faults_of_data(ENOUGH, replace(report, files=readable))
    assert "no file of the class healthy" in said


# What forbids a run with some settings.


def test_a_batch_larger_than_the_training_part_is_named():
    parts = setting_up.divide(ENOUGH, CONFIG)
    files = parts.training.files
    assert setting_up.faults_of_settings(replace(CONFIG, batch_size=files), parts) == []
    (said,) = setting_up.faults_of_settings(replace(CONFIG, batch_size=files + 1), parts)
    assert f"({files + 1} pictures) is larger than the training part ({files} files)" in said
    assert f"Choose {files} at most" in said


def test_what_is_said_of_the_batch_is_what_stops_the_run(small_data, small_network, tmp_path):
    from kop_core.errors import RunError

    parts = setting_up.divide(scan(small_data), CONFIG)
    config = replace(CONFIG, batch_size=parts.training.files + 1)
    (said,) = setting_up.faults_of_settings(config, parts)
    with pytest.raises(RunError, match="is larger than the training part") as raised:
        train(config, small_data, tmp_path / "run")
    assert f"Choose {parts.training.files} at most" in said and "Choose" in str(raised.value)


@pytest.mark.parametrize("part", ["training", "validation", "test"])
def test_a_part_of_which_no_file_can_be_read_is_named(part):
    whole = setting_up.divide(ENOUGH, WATCHED)
    lost = [i.file for i in getattr(whole, part).items]
    (said,) = setting_up.faults_of_settings(WATCHED, setting_up.divide(ENOUGH, WATCHED, lost))
    assert said.startswith(f"No file of the {part} part can be read.")
    assert setting_up.faults_of_settings(CONFIG, setting_up.divide(ENOUGH, CONFIG)) == []


def test_what_cannot_be_divided_is_a_named_error():
    with pytest.raises(DataSetError, match="patient of 60 of the 60 files"):
        setting_up.divide(ENOUGH, replace(CONFIG, split="patient"))
    with pytest.raises(DataSetError, match="11 folds are too many"):
        setting_up.divide(ENOUGH, replace(CONFIG, folds=11, fold=1))
    few = collection(healthy=(2, 1), osteopenia=(9, 1), osteoporosis=(9, 1))
    with pytest.raises(DataSetError, match="validation part"):
        setting_up.divide(few, WATCHED)


# Presets.


def test_settings_are_known_as_the_preset_that_they_are():
    assert setting_up.preset_of(setting_up.RECOMMENDED) == "recommended"
    assert setting_up.preset_of(setting_up.paper_settings()) == "paper"
    assert setting_up.preset_of(CONFIG) is None


@pytest.mark.parametrize(
    "change",
    [{"seed": 9}, {"precision": "float32"}, {"replicas": 2}, {"conflicts": "drop"},
     {"folds": 5, "fold": 2}, {"test_share": 0.3}],
    ids=lambda c: "-".join(c),
)  # fmt: skip
def test_what_tells_runs_of_one_preset_apart_leaves_it_that_preset(change):
    for preset, name in ((setting_up.RECOMMENDED, "recommended"),
                         (setting_up.paper_settings(), "paper")):  # fmt: skip
        assert setting_up.preset_of(replace(preset, **change)) == name


@pytest.mark.parametrize(
    "change",
    [{"epochs": 31}, {"batch_size": 12}, {"learning_rate": 1e-3}, {"optimizer": "sgd"},
     {"split": "patient"}, {"augmentation": None}, {"augmentation": Augmentation(rotation=90)},
     {"options": {}}, {"schedule": "constant"}, {"weight_decay": 0.01}, {"size": 160}],
    ids=lambda c: "-".join(c),
)  # fmt: skip
def test_another_setting_makes_it_no_preset(change):
    for preset in (setting_up.RECOMMENDED, setting_up.paper_settings()):
        assert setting_up.preset_of(replace(preset, **change)) is None


def test_the_recommended_settings_measure_honestly_and_the_papers_as_the_paper():
    from kop_core.reproduction.settings import are_the_papers

    ours, papers = setting_up.RECOMMENDED, setting_up.paper_settings()
    assert ours.split == "radiograph" and ours.validation_share > 0 and ours.keep == "best"
    assert papers.split == "random" and papers.validation_share == 0
    assert are_the_papers(papers.get_config()) and not are_the_papers(ours.get_config())


# The parts.


def test_parts_are_counted():
    parts = setting_up.divide(ENOUGH, WATCHED)
    assert [p.name for p in parts.shown] == ["Training", "Validation", "Test"]
    assert sum(p.files for p in parts.shown) == 60
    assert sum(p.radiographs for p in parts.shown) == 30
    for part in parts.shown:
        assert part.files == 2 * part.radiographs == sum(part.classes.values())
        assert list(part.classes) == list(CLASS_NAMES) and all(part.classes.values())
    assert [p.name for p in setting_up.divide(ENOUGH, CONFIG).shown] == ["Training", "Test"]


def test_files_whose_radiograph_is_not_known_count_each_for_itself():
    unknown = tuple(replace(i, radiograph="") for i in ENOUGH.items)
    data = replace(ENOUGH, items=unknown)
    parts = setting_up.divide(data, replace(CONFIG, split="random"))
    assert parts.training.radiographs == parts.training.files == 48


def test_what_is_left_out_is_shown():
    twice = Item("osteopenia/x.png", "osteopenia", "healthy 0", "x")
    data = replace(ENOUGH, items=(*ENOUGH.items, twice))
    parts = setting_up.divide(data, replace(CONFIG, conflicts="drop"))
    assert parts.shown[-1].name == "Left out"
    assert {i.radiograph for i in parts.left_out.items} == {"healthy 0"}
    assert parts.left_out.files == 3


def test_what_decides_the_time_is_taken_from_the_parts():
    parts = setting_up.divide(ENOUGH, WATCHED)
    found = setting_up.facts(parts, WATCHED, 0.5)
    assert (found.training, found.watched, found.test, found.reading_seconds) == (
        parts.training.files, parts.validation.files, parts.test.files, 0.5,
    )  # fmt: skip
    assert found.files == 60
    found = setting_up.facts(setting_up.divide(ENOUGH, CONFIG), CONFIG)
    assert found.watched == found.test and found.files == 60


@pytest.mark.parametrize(
    "config",
    [
        replace(WATCHED, split="radiograph"),
        replace(CONFIG, split="random", test_share=0.3),
        replace(WATCHED, split="random", folds=3, fold=2),
    ],
    ids=["radiograph", "random", "fold"],
)
def test_the_parts_are_those_of_the_run(small_data, small_network, tmp_path, config):
    bad = small_data / "Normal" / "Normal 7.png"
    bad.write_bytes(bad.read_bytes()[:200])
    out = train(replace(config, patience=None), small_data, tmp_path / "run")
    run = RunFolder(out)
    split = Split.read(run.split, config.split, config.seed, fold=config.fold, folds=config.folds)
    data = scan(small_data)
    shown = setting_up.divide(data, config)
    for name in ("training", "validation", "test"):
        assert getattr(shown, name).items == getattr(split, name), name
    # What cannot be read is drawn as well, and is in no part that is shown or trained.
    unreadable = setting_up.divide(data, config, ["Normal/Normal 7.png"])
    assert [(p.name, p.files) for p in unreadable.shown] == [
        (p.name, p.files - ("Normal/Normal 7.png" in {i.file for i in p.items}))
        for p in shown.shown
    ]
    assert sum(p.files for p in unreadable.shown) == 35


# Copies on both sides.


def parts_of(training: list[Item], test: list[Item]) -> setting_up.Parts:
    empty = setting_up.Part("Validation", ())
    return setting_up.Parts(
        setting_up.Part("Training", tuple(training)), empty,
        setting_up.Part("Test", tuple(test)), replace(empty, name="Left out"),
    )  # fmt: skip


def item(file: str, radiograph: str = "") -> Item:
    return Item(file, "healthy", radiograph, file)


def audited(**radiographs: str):
    found = tuple(facts(file=f, radiograph=r) for f, r in radiographs.items())
    return replace(make_empty_report(), files=found)


def test_copies_are_what_the_audit_found_and_what_the_data_set_names():
    report = audited(a="G1", b="G1", c="G2", d="G3", e="G4", f="G5")
    share = setting_up.copies_in_training
    assert share(parts_of([item("a"), item("c")], [item("b"), item("d")]), report) == 0.5
    assert share(parts_of([item("a")], [item("d"), item("e")]), report) == 0
    named = parts_of([item("a", "R1")], [item("d", "R1"), item("e", "R2"), item("f"), item("c")])
    assert share(named, report) == 0.25
    # Neither an empty name nor a file that the audit could not read is a copy of another.
    assert share(parts_of([item("x")], [item("y"), item("d")]), report) == 0
    assert share(parts_of([item("a")], []), report) is None


def test_a_split_by_radiograph_has_none_and_a_random_one_has_the_share_of_the_audit(tmp_path):
    report, data = make_report(tmp_path / "data", 12)
    parts = setting_up.divide(data, replace(CONFIG, split="random"))
    groups = {f.file: f.radiograph for f in report.files}
    learned = {groups[i.file] for i in parts.training.items}
    copied = sum(groups[i.file] in learned for i in parts.test.items)
    assert setting_up.copies_in_training(parts, report) == copied / len(parts.test.items)
    known = replace(data, items=tuple(replace(i, radiograph=groups[i.file]) for i in data.items))
    parts = setting_up.divide(known, CONFIG)
    assert setting_up.copies_in_training(parts, report) == 0


@pytest.mark.parametrize(
    ("share", "says"),
    [
        (0.943, "With this split 94 % of the test images have a copy in training. The accuracy "
                "will say mostly how well copies are recognised"),
        (0.5, "mostly how well copies are recognised"),
        (0.2, "20 % of the test images have a copy in training. A part of the accuracy"),
        (0.001, "under 1 % of the test images"),
        (0.0, "The audit found no radiograph on both sides"),
    ],
)  # fmt: skip
def test_a_random_split_is_warned_of_with_the_share_of_copies(share, says):
    assert says in setting_up.random_warning(share)
    assert ("the literature measures so" in setting_up.random_warning(share)) == (share > 0)


def test_a_small_test_part_is_remarked_on():
    parts = setting_up.divide(ENOUGH, CONFIG)
    assert parts.test.radiographs == 6
    (said,) = setting_up.remarks(CONFIG, parts)
    assert "has 6 radiographs" in said and "±37 percentage points" in said
    assert setting_up.remarks(replace(CONFIG, split="random"), parts) == []
    one = parts_of([], [item("a", "R")])
    assert "has 1 radiograph:" in setting_up.remarks(CONFIG, one)[0]
    many = parts_of([], [item(str(i), f"R{i}") for i in range(setting_up.FEW_RADIOGRAPHS)])
    assert setting_up.remarks(CONFIG, many) == []


def test_words_in_a_sentence():
    assert [setting_up.listing(w) for w in ((), ("a",), ("a", "b"), ("a", "b", "c"))] == [
        "", "a", "a and b", "a, b and c",
    ]  # fmt: skip
