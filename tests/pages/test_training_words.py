"""Runs and their results in words: of each state, and of folders that a hand altered."""

from __future__ import annotations

import hashlib
import json
import math
import time
from collections.abc import Callable
from dataclasses import replace
from datetime import datetime, timezone
from pathlib import Path

import numpy as np
import pytest

from dashboard import training_result as result
from dashboard import training_words as words
from kop_core.errors import RunError
from kop_core.evaluation import Predictions
from kop_core.evaluation.comparison import Difference
from kop_core.training import TrainingConfig, runs
from kop_core.training.run_state import EMPTY, STATES

CONFIG = TrainingConfig(epochs=30, options={}, split="random")
BEST = replace(CONFIG, validation_share=0.2, keep="best")
WATCHED_BEST = {"epoch": 3, "accuracy": 0.754, "loss": 0.6, "part": "test"}


def row(epoch: int, loss: object = 1.0, accuracy: object = 0.5) -> dict:
    return {"epoch": epoch, "val_loss": loss, "val_accuracy": accuracy}


def run(state: str = "running", epoch: int = 0, said: dict | None = None, **changes) -> runs.Run:
    """A run of thirty epochs."""
    plain = runs.Run(
        "2026-11-23-01-paper", Path("/runs/2026-11-23-01-paper"), state, "Knees, at first",
        CONFIG, Path("/data/Knees 2023"), datetime(2026, 11, 23, 12, tzinfo=timezone.utc),
        epoch, 30, progress={**EMPTY, "state": state, **(said or {})},
        history=[row(e) for e in range(1, epoch + 1)],
    )  # fmt: skip
    return replace(plain, **changes)


# What a run is.


def test_every_state_has_a_word_an_icon_and_a_colour():
    assert {words.state(run(state))[0].lower() for state in STATES} == set(STATES)
    assert words.state(run("dreaming")) == words.STATES["failed"]
    assert set(words.ALIVE) == set(runs.ALIVE)


def test_a_run_says_what_it_trains_on_what():
    assert words.what(run()) == (
        "Nine convolutions (Ali et al. 2025) on Knees 2023. 30 epochs, batches of 16, SGD at a "
        "learning rate of 0.001, seed 0."
    )
    record = {"data": {"name": "OAI"}, "split": {"training_files": 1600, "test_files": 400}}
    begun = run(record=record, config=replace(CONFIG, epochs=1, optimizer="adamw"))
    assert "on OAI: 1,600 pictures to train on, 400 to test on. 1 epoch, " in words.what(begun)
    assert "AdamW" in words.what(begun)
    unknown = run(config=replace(CONFIG, network="gone"), data_folder=None)
    assert words.what(unknown).startswith("gone. 30 epochs")
    assert words.what(run(config=None)) == "What this run was set to cannot be read."


def test_title_data_epochs_and_moment():
    assert words.title(run()) == "Knees, at first" and words.title(run(title="")) == run().id
    assert words.data(run(data_folder=None)) == ""
    assert words.epochs(run(epoch=12)) == "12 of 30" and words.epochs(run(epochs=0)) == ""
    local = datetime(2026, 11, 3, 9, 5).astimezone()
    assert words.when(local) == "3 Nov 2026, 09:05" and words.when(None) == ""


def test_the_best_so_far_says_what_it_was_measured_on():
    assert words.best(run(best=WATCHED_BEST)) == "75 % on the test part, epoch 3"
    assert words.best(run(best=WATCHED_BEST, config=BEST)) == "75 % on the validation part, epoch 3"
    assert words.best(run()) == ""


def test_a_split_is_as_measured_once_it_has_begun_and_as_asked_before():
    asked = words.split(run(config=replace(CONFIG, split="radiograph", fold=2, folds=5)))
    assert words.short_split(asked) == "by radiograph, fold 2 of 5"
    share = {"protocol": "random", "same_radiograph_share": 0.94, "folds": None}
    assert (
        words.short_split(words.split(run(record={"split": share}))) == "random split, 94 % copied"
    )
    share = {"protocol": "radiograph", "identical_share": 0.001}
    short = words.short_split(words.split(run(record={"split": share})))
    assert short == "by radiograph, under 1 % copied"
    assert words.split(run(config=None)) == {} and words.short_split({}) == ""


# How far it is.


def progress(stage: str, **said) -> dict:
    return {"stage": stage, **said}


def test_the_progress_of_a_run_counts_the_steps_of_the_epoch_at_work():
    said = progress("training", epoch=4, step=25, steps=100, seconds_left=1830.0)
    share, told = words.progress_of_run(run(epoch=3, said=said))
    assert share == pytest.approx(3.25 / 30) and told == "Epoch 4 of 30: about 30 min left"
    share, told = words.progress_of_run(run(epoch=3, said={**said, "stage": "validating"}))
    assert share == pytest.approx(3 / 30)
    assert words.progress_of_run(run()) == (0.0, "Epoch 1 of 30")
    ended = progress("epoch", epoch=4, step=4, steps=30)
    assert words.progress_of_run(run(epoch=4, said=ended))[0] == pytest.approx(4 / 30)


def test_a_run_that_is_measured_says_how_many_epochs_it_had():
    said = progress("measuring", epoch=30)
    assert words.progress_of_run(run(epoch=30, said=said)) == (
        1.0, "All epochs are done: 30 of 30",
    )  # fmt: skip
    stopped = words.progress_of_run(run(epoch=3, said=said))[1]
    assert stopped == "No more epochs are trained: 3 of 30"  # it was stopped, or stopped early


@pytest.mark.parametrize(
    ("stage", "told"),
    [
        ("starting", "Starting: 25 of 1,000"),
        ("scanning", "Listing the pictures: 25 of 1,000"),
        ("reading", "Reading the pictures: 25 of 1,000"),
        ("compiling", "Preparing the network: 25 of 1,000"),
        ("training", "Step 25 of 1,000, loss 0.712, accuracy 68 % in this epoch"),
        ("validating", "Looking at the test part: 25 of 1,000"),
        ("epoch", "An epoch has ended"),
        ("measuring", "Measuring on the test part: 25 of 1,000"),
    ],
)
def test_every_stage_of_an_epoch_is_told(stage, told):
    figures = {"loss": 0.7123, "accuracy": 0.68}
    said = progress(stage, step=25, steps=1000, figures=figures)
    assert words.progress_of_epoch(run(said=said)) == (1.0 if stage == "epoch" else 0.025, told)
    validating = progress("validating", step=1, steps=2)
    assert "validation part" in words.progress_of_epoch(run(said=validating, config=BEST))[1]


def test_every_stage_that_a_run_reports_has_words():
    """Those of the trainer and of the worker, as the sources name them."""
    import re

    sources = Path(runs.__file__).parent
    text = (sources / "trainer.py").read_text() + (sources / "worker.py").read_text()
    told = set(re.findall(r'(?:_tell|Progress)\(\s*"(\w+)"', text))
    assert {"training", "epoch", "measuring"} <= told <= words._STAGES.keys()


def test_what_a_run_costs():
    said = {"images_per_second": 142.4, "memory_bytes": 3_100_000_000}
    assert words.costs(run(said=said, best=WATCHED_BEST)) == [
        ("Speed", "142 images a second"),
        ("Memory", "3.1 GB"),
        ("Best so far", "75 % on the test part, epoch 3"),
    ]
    assert words.costs(run(said={"images_per_second": 1.52})) == [("Speed", "1.5 images a second")]
    assert words.costs(run()) == []


@pytest.mark.parametrize(
    ("count", "told"),
    [
        (10, "0.1 MB"),
        (213e6, "213 MB"),
        (999.4e6, "999 MB"),
        (999.9e6, "1.0 GB"),
        (3.14e9, "3.1 GB"),
    ],
)
def test_sizes_in_words(count, told):
    assert words.size(count) == told


def test_the_time_left_is_no_finer_than_it_is_known():
    assert words.time_left(59) == "less than a minute left"
    assert words.time_left(4000) == "about 1 h 07 min left"


# Waiting.


def at(minute: int, state: str = "queued", left: object = None) -> runs.Run:
    said = {"queued_at": f"2026-11-23T12:{minute:02d}:00.000+00:00", "seconds_left": left}
    return run(state, said=said, id=f"run-{minute}")


@pytest.mark.parametrize(
    ("others", "at_once", "told"),
    [
        ([], 1, "It is the next to start, in a moment."),
        ([at(7, "finished"), at(40)], 1, "It is the next to start, in a moment."),
        ([at(1, "running", 600)], 2, "It is the next to start, in a moment."),
        (
            [at(1, "running", 600)],
            1,
            "It is the next to start: 1 run may train at once, and 1 run is training. That one "
            "should end in about 10 min.",
        ),
        (
            [at(1, "running", 600), at(2, "running", 120)],
            2,
            "It is the next to start: 2 runs may train at once, and 2 runs are training. The first "
            "of them should end in about 2 min.",
        ),
        (
            [at(1, "running", None)],
            1,
            "It is the next to start: 1 run may train at once, and 1 run is training.",
        ),
        (
            [at(1, "running", 600), at(2)],
            1,
            "1 run waits before it: 1 run may train at once, and 1 run is training. It will wait "
            "longer than 10 min: how long the runs before it take is known only once they train.",
        ),
        (
            [at(1, "running"), at(2), at(3)],
            1,
            "2 runs wait before it: 1 run may train at once, and 1 run is training.",
        ),
    ],
)
def test_a_run_that_waits_is_told_its_place(others, at_once, told):
    me = at(30)
    assert words.queue(me, [me, *others], at_once) == told


def test_the_list_has_running_ones_first_then_those_that_wait_in_their_turn():
    found = [at(9, "finished"), at(8), at(7, "running"), at(6, "failed"), at(5), at(4, "running")]
    assert [r.id for r in words.in_order(found)] == [
        "run-4", "run-7", "run-5", "run-8", "run-9", "run-6",
    ]  # fmt: skip


# How it ended, and what is left.


def test_every_end_says_what_became_of_it():
    killed = run("interrupted", 3, message="It was killed. Resume it.")
    assert words.ended(killed) == (
        "It was killed. Resume it. 3 of 30 epochs are kept. The result will be the same as if it "
        "had not been interrupted."
    )
    assert words.ended(run("interrupted", 1)).startswith("1 of 30 epochs is kept.")
    hurt = run("interrupted", 3, message="Its checkpoint is damaged.", damaged=True)
    assert words.ended(hurt) == "Its checkpoint is damaged."
    assert words.ended(run("interrupted", message="Before its start.")) == "Before its start."
    assert words.ended(run("failed", message="The disk is full.")) == "The disk is full."
    assert "did not say why" in words.ended(run("failed"))
    assert words.ended(run("stopped", 2)) == (
        "The run was stopped. 2 of 30 epochs are kept. Resume goes on from there."
    )
    assert words.ended(run("finished", 30)) == ""


def test_whose_weights_are_kept_is_decided_by_the_loss_as_in_training():
    history = [row(1, 0.9, 0.6), row(2, 0.512, 0.7), row(3, 0.6, 0.754), row(4, 0.512, 0.7)]
    chosen = run(epoch=4, config=BEST, history=history, best=WATCHED_BEST)
    assert words.kept_epoch(chosen) == 2  # not 3, which is the most accurate
    said = words.kept_when_stopped(chosen)
    assert "epoch 2, whose loss on the validation part is the lowest so far." in said
    assert "measured on the test part" in said and "Resume" in said
    assert words.kept_epoch(replace(chosen, config=CONFIG)) is None
    assert "those of epoch 4, the last whole one" in words.kept_when_stopped(
        replace(chosen, config=CONFIG)
    )
    assert words.kept_when_stopped(run()).startswith("No whole epoch is done yet")
    nothing = run(epoch=2, config=BEST, history=[row(1, math.nan), row(2, math.nan)])
    assert words.kept_epoch(nothing) == 1  # as the trainer does
    assert words.kept_epoch(run(config=None, history=history)) is None


def test_the_end_of_a_log_has_what_can_be_read():
    bar = "10 %\r50 %\r100 %\n"
    assert words.tail(f"\x1b[Kbegun\n\n{bar}a\x00b\tc\n   \n") == "begun\n100 %\nab\tc"
    native = "I0000 00:00:1795583999.414994   18958 cudart_stub.cc:31] Could not find cuda"
    assert words.tail(f"WARNING: All log messages before absl::x\n{native}\nepoch 1\n") == "epoch 1"
    assert words.tail("one\r\ntwo\r\n") == "one\ntwo"  # as it is written on Windows
    assert words.tail("\n".join(map(str, range(100))), 3) == "97\n98\n99"
    assert words.tail("") == ""


# Folders that a hand altered: no sentence, whatever is in them, but no error either.

ODD = [
    None, "", "many", "{part}", "{x}", "{", "%s", [], [1], {}, {"a": 1}, True, -1, 0, 2.5, 10**400,
    -(10**400), 1e308, math.nan, math.inf, -math.inf, "x" * 10_000, "\x00\n",
]  # fmt: skip
SENTENCES: dict[str, Callable] = {
    f.__name__: f
    for f in (
        words.state, words.title, words.watched, words.watched_part, words.kept_epoch, words.best,
        words.epochs, words.split, words.data, words.network, words.what, words.progress_of_run,
        words.progress_of_epoch, words.costs, words.ended, words.kept_when_stopped,
    )
}  # fmt: skip


def say_all(altered: runs.Run) -> None:
    for say in SENTENCES.values():
        say(altered)
    words.short_split(words.split(altered))
    words.queue(altered, [altered, at(1, "running", 60), at(2)], 1)
    words.queue(at(30), [at(30), altered], 1)
    words.in_order([at(1), altered, at(2, "running")])
    for share, said in (words.progress_of_run(altered), words.progress_of_epoch(altered)):
        assert 0 <= share <= 1 and isinstance(said, str)


@pytest.mark.parametrize("state", STATES)
@pytest.mark.parametrize("config", [CONFIG, BEST, None], ids=["last", "best", "none"])
def test_an_altered_state_never_makes_words_fail(state, config):
    for value in ODD:
        for field in EMPTY:
            say_all(run(state, 3, {field: value}, config=config))
        for figure in ("loss", "accuracy"):
            say_all(run(state, 3, progress("training", figures={figure: value}), config=config))
        say_all(run(state, 3, progress("training", step=value, steps=value), config=config))
    say_all(run(state, 50, progress("training", epoch=99), config=config))
    say_all(run(state, config=config, progress={}, created=None, data_folder=None))


def test_an_altered_record_or_history_never_makes_words_fail():
    facts = ("protocol", "same_radiograph_share", "identical_share", "fold", "folds", "conflicts",
             "training_files", "test_files")  # fmt: skip
    for value in ODD:
        say_all(run(record={"split": value, "data": value}))
        say_all(run(record={"data": {"name": value}}))
        for fact in facts:
            say_all(run(record={"split": {"protocol": "radiograph", "folds": 5, fact: value}}))
            say_all(run(record={"split": {"protocol": "random", fact: value}}))
        say_all(run(best={"accuracy": value, "epoch": 2}))
        say_all(run(best={"accuracy": 0.5, "epoch": value}))
    for number in (math.nan, math.inf, -math.inf, 1e308, -1.0):
        for history in ([row(1, number, number)], [{"epoch": 1}, row(2, number), row(3)]):
            say_all(run(epoch=3, history=history, config=BEST))
    say_all(run(epoch=1, history=[{"epoch": 1}], config=BEST))
    assert words.short_split({"protocol": "gone"}) == "split unknown"


@pytest.mark.parametrize("text", ["0001-01-01T00:00:00+14:00", "9999-12-31T23:59:59-12:00"])
def test_a_moment_that_no_clock_shows_is_left_out(text, monkeypatch):
    with monkeypatch.context() as patch:
        patch.setenv("TZ", "UTC")
        time.tzset()
        assert words.when(datetime.fromisoformat(text)) == ""
    time.tzset()


def test_a_folder_on_disk_that_a_hand_altered_is_told(tmp_path):
    """By way of the files themselves: whatever passes their readers has words."""
    folder = tmp_path / "run"
    folder.mkdir()
    settings = {"format": 1, "data_folder": "/x", "title": "x", "created": "0001-01-01T00:00:00"}
    (folder / "request.json").write_text(json.dumps({**settings, "config": CONFIG.get_config()}))
    for stage in ("{x}", "waiting", ""):
        said = {"format": 1, "state": "running", "stage": stage, "memory_bytes": 10**400}
        (folder / "state.json").write_text(json.dumps({**said, "seconds_left": 10**400}))
        (folder / "history.csv").write_text("epoch,val_loss\n-3,nan\n1,1\n")
        say_all(runs.open_run(folder))


# Results.


def predictions(*rows: tuple[str, str, int, tuple[float, float, float]]) -> Predictions:
    files, radiographs, true, probabilities = zip(*rows)
    return Predictions(files, radiographs, np.array(true), np.array(probabilities))


HEALTHY, POROSIS, SURE = (0.8, 0.1, 0.1), (0.1, 0.2, 0.7), (0.01, 0.01, 0.98)


def test_the_worst_mistakes_are_the_most_confident_ones_each_radiograph_once():
    found = result.worst_mistakes(
        predictions(
            ("right.png", "R0", 0, HEALTHY),
            ("b.png", "R1", 0, POROSIS),
            ("a.png", "R1", 0, SURE),  # the surest of its radiograph stands for it
            ("c.png", "R1", 0, (0.3, 0.4, 0.3)),  # another mistake of the same picture
            ("d.png", "R2", 2, HEALTHY),
            ("f.png", "", 1, POROSIS),
            ("e.png", "", 1, POROSIS),  # unknown radiographs are not one another's copies
        )
    )
    assert [(m.file, m.true, m.called, m.copies) for m in found] == [
        ("a.png", "healthy", "osteoporosis", 1),
        ("d.png", "osteoporosis", "healthy", 0),
        ("e.png", "osteopenia", "osteoporosis", 0),
        ("f.png", "osteopenia", "osteoporosis", 0),
    ]
    assert found[0].score == pytest.approx(0.98)


def test_at_most_so_many_mistakes_and_none_where_there_is_none():
    wrong = predictions(*((f"{i}.png", f"R{i}", 0, POROSIS) for i in range(20)))
    assert len(result.worst_mistakes(wrong)) == result.WORST
    assert [m.file for m in result.worst_mistakes(wrong, 2)] == ["0.png", "1.png"]
    assert result.worst_mistakes(predictions(("a.png", "R", 0, HEALTHY))) == ()


@pytest.fixture
def pictures(tmp_path) -> Path:
    folder = tmp_path / "knees"
    (folder / "Normal").mkdir(parents=True)
    (folder / "Normal" / "a.png").write_bytes(b"a")
    (tmp_path / "secret.png").write_bytes(b"s")
    return folder


def test_a_picture_is_found_while_it_is_the_one_that_was_measured(pictures):
    digest = hashlib.sha256(b"a").hexdigest()
    path = pictures / "Normal" / "a.png"
    assert result.find_picture(pictures, "Normal/a.png", digest) == path
    assert result.find_picture(pictures, "Normal/a.png", None) == path
    (pictures / "list.csv").write_text("file,class\n")
    assert result.find_picture(pictures / "list.csv", "Normal/a.png", digest) == path
    path.write_bytes(b"b")
    with pytest.raises(RunError, match="has changed since the run began"):
        result.find_picture(pictures, "Normal/a.png", digest)
    path.unlink()
    with pytest.raises(RunError, match="no longer in"):
        result.find_picture(pictures, "Normal/a.png", digest)
    with pytest.raises(RunError, match="is not known"):
        result.find_picture(None, "Normal/a.png", digest)


def test_a_folder_that_is_called_as_a_table_is_a_folder(pictures):
    """As an archive ``knees.csv.zip`` becomes one."""
    folder = pictures.rename(pictures.with_name("knees.csv"))
    assert result.find_picture(folder, "Normal/a.png", None) == folder / "Normal" / "a.png"


@pytest.mark.parametrize(
    "file", ["../secret.png", "Normal/../../secret.png", "/etc/hosts", "", ".", "Normal", "a\0.png"]
)
def test_no_picture_is_looked_for_outside_the_folder(pictures, file):
    for name in (file, str(pictures.parent / "secret.png")):
        with pytest.raises(RunError, match="no longer in"):
            result.find_picture(pictures, name, None)


@pytest.mark.parametrize(
    ("title", "slug"),
    [
        ("Knees, at first", "knees-at-first"),
        ("  --A_B..c--  ", "a-b-c"),
        ("膝", ""),
        ("", ""),
        ("x" * 63 + " y", "x" * 63),
        ("../../etc", "etc"),
    ],
)
def test_a_name_is_made_of_a_title(title, slug):
    assert result.slug(title) == slug


@pytest.mark.parametrize(
    ("found", "p", "told"),
    [
        # The interval is beyond 0 and too narrow: p decides.
        (Difference(0.05, 0.006, 0.1, 0.04), 0.08, "cannot be told apart by this test part: the"),
        (Difference(0.05, 0.006, 0.1, 0.01), 0.04, "This run is more accurate than Other on this"),
        (Difference(-0.05, -0.1, 0.0, 0.01), 0.04, "This run is less accurate than Other on this"),
        (Difference(None, None, None, None), None, "differ in accuracy is not defined."),
    ],
)
def test_a_difference_is_claimed_by_its_corrected_p(found, p, told):
    said = result.said_of_difference("Other", found, p)
    assert told in said and (p is None or said.endswith(f", p = {p:.3f}."))
