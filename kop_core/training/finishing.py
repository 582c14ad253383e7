"""From trained weights to a model folder: half precision on disk if that will do, figures, card."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np

from kop_core import model_store, networks, wording
from kop_core.classes import CLASS_NAMES
from kop_core.datasets import Split
from kop_core.datasets.feeding import Pixels
from kop_core.datasets.splits import conflicted
from kop_core.errors import RunError
from kop_core.evaluation import Evaluation, Predictions, evaluate
from kop_core.evaluation.calibration import calibration
from kop_core.networks.pretrained import IMAGENET, KNEES
from kop_core.radiographs.preparation import WHOLE
from kop_core.training.config import BACKBONE
from kop_core.training.leaving_out import said_of_marked
from kop_core.training.predicting import predict
from kop_core.training.run_folder import RunFolder, write_json
from kop_core.training.versions import at_work

if TYPE_CHECKING:
    import keras

# Above this a model is kept in single precision: half has too few digits for it.
MAX_DIFFERENCE = 0.005
HALF, SINGLE = "float16", "float32"
_BATCH = 16
# What a card says of weights that have a name.
_BEGINNINGS = {
    IMAGENET: "weights learned on ImageNet",
    KNEES: "weights learned on knees that are graded for osteoarthritis, not for bone density",
}


@dataclass(frozen=True)
class Outcome:
    """How a run ended.

    Attributes:
        epochs: whole epochs done.
        kept: the epoch whose weights the model has.
        stopped: whether a person stopped it before its time.
    """

    epochs: int
    kept: int
    stopped: bool = False


def finish(
    run: RunFolder,
    trained: keras.Model,
    test: Pixels,
    record: dict[str, Any],
    split: Split,
    outcome: Outcome,
    unreadable: tuple[tuple[str, str], ...] = (),
    progress: Callable[[int, int], None] | None = None,
) -> None:
    """Write ``model.keras``, ``predictions.csv`` and ``card.json`` of a run.

    The predictions are those of the file as it is served, in float32 from weights in
    half precision, so that every figure on the card is true of what is shipped. Where half
    precision would move a probability by more than 0.005, single precision is kept, and the
    card says so.

    Args:
        run: its folder.
        trained: the network with the weights that are kept.
        test: the test part.
        record: what ``run.json`` says.
        split: the parts of the data.
        outcome: how the run ended.
        unreadable: files that were left out, with the reason.
        progress: called with pictures done and in all.

    Raises:
        RunError: if the network says what is no number, or the model cannot be written.
    """
    config = record["config"]
    full = networks.build(config["network"], **_input(config), **config["options"])
    full.set_weights(trained.get_weights())
    in_full = predict(full.predict_on_batch, test, _BATCH)
    if not np.isfinite(in_full).all():
        raise RunError(
            "The trained network gives probabilities that are no numbers. Start a new run with a "
            f"lower learning rate; the weights are in {run.checkpoint}."
        )
    stored = HALF if _fits_half(full) else SINGLE
    _save(full, config, run, stored)
    probabilities = _served(config, run, test, progress)
    if stored == HALF and not _difference(probabilities, in_full) <= MAX_DIFFERENCE:
        stored = SINGLE
        _save(full, config, run, stored)
        probabilities = _served(config, run, test, progress)
    storage = {
        "precision": stored,
        "largest_difference_of_a_probability": round(_difference(probabilities, in_full), 6),
    }
    predictions = Predictions(
        tuple(i.file for i in test.items),
        tuple(i.radiograph for i in test.items),
        test.targets.argmax(axis=1),
        probabilities.astype(np.float64),
    )
    predictions.write(run.predictions)
    # Read back: the card's figures follow from the table, to the last digit.
    predictions = Predictions.read(run.predictions)
    evaluation, tried = evaluate(predictions), calibrate(predictions)
    found = {**conflicts(split), "unreadable": [list(u) for u in unreadable]}
    record = {**record, "data": {**record["data"], **found}}
    write_json(run.card, _card(run, record, evaluation, tried, outcome, full, storage))


def conflicts(split: Split) -> dict[str, int | None]:
    """Count the radiographs of a data set, and those filed under more than one class.

    Returns:
        ``radiographs`` and ``conflicted_radiographs``; ``None`` where it is not known of
        every file which radiograph it shows.
    """
    radiographs = {item.radiograph for item in split.items}
    if "" in radiographs:
        return {"radiographs": None, "conflicted_radiographs": None}
    several = conflicted(split.items)
    return {"radiographs": len(radiographs), "conflicted_radiographs": len(several)}


def calibrate(predictions: Predictions) -> dict[str, Any]:
    """Fit a temperature on one half of a test part, and judge on the other if it helps.

    Args:
        predictions: the test part, as the model gives it.

    Returns:
        What a card keeps, as plain values: ``method``; ``temperature``, ``None`` if none
        could be fitted, and then why, ``reason``; ``fitted_on`` and ``judged_on``, each
        with ``images`` and ``radiographs`` (``None`` if those are not known); ``log_loss``
        on the second half ``before``, ``after`` and their ``change``, each with its
        interval; ``at_limit`` and ``helps`` as in
        :class:`kop_core.evaluation.calibration.Temperature`.
    """
    found = calibration(predictions)
    temperature, named = found.temperature, predictions.by_radiograph
    loss = "negative_log_likelihood"
    return {
        "method": "temperature",
        "temperature": temperature and temperature.value,
        "reason": found.reason,
        **{
            key: {
                "images": found.sizes[f"{half}_images"],
                "radiographs": found.sizes[f"{half}_radiographs"] if named else None,
            }
            for key, half in (("fitted_on", "choosing"), ("judged_on", "measuring"))
        },
        "log_loss": temperature
        and {
            when: getattr(temperature, when)[loss].get_config()
            for when in ("before", "after", "change")
        },
        "at_limit": bool(temperature and temperature.at_limit),
        "helps": bool(temperature and temperature.helps),
    }


def _difference(probabilities: np.ndarray, in_full: np.ndarray) -> float:
    return float(np.abs(probabilities - in_full).max())


def _served(
    config: dict[str, Any],
    run: RunFolder,
    test: Pixels,
    progress: Callable[[int, int], None] | None,
) -> np.ndarray:
    """Return what the model says of the test part that is in its file."""
    served = networks.load(config["network"], config["options"], run.model, **_input(config))
    return predict(served.predict_on_batch, test, _BATCH, progress)


def _input(config: dict[str, Any]) -> dict[str, Any]:
    """Return what decides the shape of a network's input; older records know no views."""
    return {"size": config.get("size"), "view": config.get("view", WHOLE)}


def _fits_half(full: keras.Model) -> bool:
    """Return whether no weight is too large for half precision."""
    largest = np.finfo(np.float16).max
    return all((np.abs(weight) <= largest).all() for weight in full.get_weights())


def _save(full: keras.Model, config: dict[str, Any], run: RunFolder, precision: str) -> None:
    """Write the model's file, its weights rounded to a precision."""
    kept = networks.build(
        config["network"], precision=precision, **_input(config), **config["options"]
    )
    kept.set_weights([w.astype(v.dtype) for w, v in zip(full.get_weights(), kept.weights)])
    try:
        kept.save(run.model)
    except OSError as error:
        run.model.unlink(missing_ok=True)
        raise RunError(
            f"{run.model} could not be written ({error.strerror or 'the disk may be full'}). Free "
            "some space, then resume the run: nothing that was learned is lost."
        ) from error


def _card(
    run: RunFolder,
    record: dict[str, Any],
    evaluation: Evaluation,
    tried: dict[str, Any],
    outcome: Outcome,
    model: keras.Model,
    storage: dict[str, Any],
) -> dict[str, Any]:
    config = record["config"]
    network = networks.get(config["network"])
    checksums = {name: model_store.checksum(run.path / name) for name in model_store.FILES}
    data = {k: v for k, v in record["data"].items() if k != "folder"}
    kept = {"calibration": tried} if tried["helps"] else {"calibration_tried": tried}
    return {
        "format": 1,
        "id": run.path.name,
        "title": _title(run),
        "version": checksums[model_store.WEIGHTS][:8],
        "network": network.name,
        "options": {**network.options, **config["options"]},
        "parameters": model.count_params(),
        "reference": network.reference,
        "preparation": network.input_of(**_input(config)).get_config(),
        "classes": list(CLASS_NAMES),
        "statements": statements(record, evaluation, kept, outcome),
        "data": data,
        "split": record["split"],
        "evaluation": evaluation.get_config(),
        "calibration": None,
        **kept,
        "training": {
            # Where a file of weights is on this machine is nobody else's business.
            "config": {**config, "pretrained": (record.get("pretrained") or {}).get("name")},
            "pretrained": record.get("pretrained"),
            "precision": record["precision"],
            "epochs_run": outcome.epochs,
            "kept_epoch": outcome.kept,
            "stopped": outcome.stopped,
            "minutes": round(sum(r["seconds"] for r in run.read_history()) / 60, 1),
            "weights": f"{_whose(config, outcome)}; no epoch was chosen by looking at the test "
            "part",
        },
        "storage": storage,
        "versions": record["versions"],
        "versions_at_the_end": at_work(),
        "checksums": checksums,
    }


def _title(run: RunFolder) -> str:
    """Return what a run was called when it was set up, if it was given a name."""
    from kop_core.training.runs import read_request

    try:
        request = read_request(run.path)
    except RunError:
        request = None
    return request.title if request else run.path.name


def _whose(config: dict[str, Any], outcome: Outcome | None) -> str:
    """Return which epoch's weights a model has, as part of a sentence."""
    if outcome is not None and config.get("keep") == "best":
        return f"of epoch {outcome.kept}, which had the lowest loss on the validation part"
    if outcome is not None and outcome.stopped:
        return f"of epoch {outcome.kept}, the last whole one"
    return "of the last epoch"


def statements(
    record: dict[str, Any],
    evaluation: Evaluation,
    kept: dict[str, Any] | None = None,
    outcome: Outcome | None = None,
) -> list[str]:
    """Return, in plain words, what the figures of a run mean and do not mean.

    Args:
        record: what ``run.json`` says.
        evaluation: what was measured on the test part.
        kept: ``calibration`` or ``calibration_tried``, if a temperature was tried.
        outcome: how the run ended; as it was set to, if it is not given.
    """
    data, split, config = record["data"], record["split"], record.get("config", {})
    files = f"{data['files']:,} files of {data['name']}"
    watching = split.get("validation_files", 0)
    rest = "another" if split.get("left_out_files") or watching else "the other"
    said = [
        f"Trained on {split['training_files']:,} of {files}; "
        f"measured on {rest} {split['test_files']:,}."
    ]
    said += _said_of_beginning(record, config)
    said += _said_of_epochs(config, outcome)
    if data.get("unreadable"):
        said.append(f"{len(data['unreadable']):,} of these could not be read and were left out.")
    said += said_of_marked(data)
    said += _said_of_split(split)
    said += _said_of_conflicts(data, split)
    if data.get("radiographs_from") == "audit":
        said.append(
            "Which files show the same radiograph was found by KOP's audit of the pictures, not "
            "stated by the data set. Copies that it missed may be on both sides."
        )
    figure = wording.accuracy(evaluation.get_config())
    whose = _whose(config, outcome)
    if watching:
        looked = (
            f"The test part was looked at once, at the end: {_pictures(watching)} of the training "
            f"part were set aside to watch the training. The weights are those {whose}."
        )
    else:
        as_there = ", as in the paper" if split["protocol"] == "random" else ""
        looked = (
            f"The test part was also looked at after every epoch{as_there}; the weights are those "
            f"{whose}."
        )
    said.append(f"Share of the test images classified as they are labelled: {figure}. {looked}")
    said += wording.calibration({**(kept or {}), "split": split})
    said.append("Not a medical device. For research and teaching, not for a diagnosis.")
    return said


def _said_of_beginning(record: dict[str, Any], config: dict[str, Any]) -> list[str]:
    """Say it where a network did not begin with fresh weights, or not all of it learned."""
    began, freeze = record.get("pretrained"), config.get("freeze")
    if began:
        given = _BEGINNINGS.get(began["name"], f"the weights in {began['name']}")
        said = f"The network's backbone began with {given}"
    elif freeze:
        said = "The network began with fresh weights"
    else:
        return []
    first = config.get("head_epochs")
    if freeze == BACKBONE:
        return [f"{said}, and only its head learned."]
    learned = (
        f"what comes before its layer {freeze} did not learn" if freeze else "all of it learned"
    )
    if first:
        epochs = "1 epoch" if first == 1 else f"{first} epochs"
        learned += f" after {epochs} of its head alone"
    return [f"{said}; {learned}."]


def _said_of_epochs(config: dict[str, Any], outcome: Outcome | None) -> list[str]:
    """Say it where a run did not go through all of its epochs."""
    wanted = config.get("epochs")
    if outcome is None or wanted is None or outcome.epochs >= wanted:
        return []
    done = "1 epoch" if outcome.epochs == 1 else f"{outcome.epochs} epochs"
    if outcome.stopped:
        return [f"The training was stopped by hand after {done} of {wanted}."]
    return [
        f"The training ended after {done} of {wanted}: for the last {config['patience']} the loss "
        "on the validation part had not become lower."
    ]


def _pictures(count: int) -> str:
    return "1 picture" if count == 1 else f"{count:,} pictures"


def _said_of_split(split: dict[str, Any]) -> list[str]:
    if split["protocol"] == "random":
        said = [
            "The split was random, file by file, as in the paper. Nothing kept copies of one "
            "radiograph, or pictures of one patient, on the same side.",
            _copies(split),
        ]
    elif split["protocol"] == "radiograph":
        said = [
            "The split was by radiograph. No picture of a test radiograph was in training.",
            _patients(split),
        ]
    else:
        said = ["The split was by patient. No picture of a test patient was in training."]
        if split.get("same_radiograph") is None:
            said.append(
                "Which radiograph each file shows is not known, so one that is listed under two "
                "patients may be on both sides."
            )
        else:
            said.append("No picture of a test radiograph was in training either.")
    if split.get("folds"):
        said.append(
            f"The test part is fold {split['fold']} of {split['folds']}. The figures are of this "
            "fold alone."
        )
    return said


def _patients(split: dict[str, Any]) -> str:
    shared = split.get("same_patient")
    if shared is None:
        return (
            "Which patient each picture is of is not known: other pictures of a test patient, "
            "such as of the other knee, may have been in training."
        )
    if not shared:
        return "No picture of a test patient was in training either."
    return (
        f"{shared:,} of the {split['test_files']:,} test images "
        f"({wording.percent(split['same_patient_share'])}) are of patients with another "
        "radiograph in training."
    )


def _said_of_conflicts(data: dict[str, Any], split: dict[str, Any]) -> list[str]:
    several = data.get("conflicted_radiographs")
    if not several:
        return []
    shown = (
        f"The {data['files']:,} files show {data['radiographs']:,} radiographs, and "
        f"{several:,} of these are filed under more than one class."
    )
    done = split.get("conflicts", "keep")
    if done == "keep":
        return [f"{shown} Some of the labels must be wrong, in the test part too."]
    out = split["left_out_files"] - sum((data.get("left_out_marked") or {}).values())
    if done == "drop":
        return [f"{shown} Their {out:,} files were left out of both parts."]
    where = "the test part only"
    if split.get("folds"):
        where = f"test parts only, each in one fold; {out:,} files of other folds were left out"
    return [f"{shown} They were put into {where}. Some of the test labels must be wrong."]


def _copies(split: dict[str, Any]) -> str:
    if split["same_radiograph"] is None:
        copies, what = split["identical"], "a byte-identical copy"
        share = split["identical_share"]
    else:
        copies, what = split["same_radiograph"], "a picture of the same radiograph"
        share = split["same_radiograph_share"]
    if not copies:
        return "No copies of test images were found in training, by the means there are."
    return (
        f"{copies:,} of the {split['test_files']:,} test images ({wording.percent(share)}) have "
        f"{what} in training. The accuracy therefore says how well the network recognises "
        "pictures that it has seen; on a new patient expect it to be far lower."
    )
