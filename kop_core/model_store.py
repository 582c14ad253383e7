"""Model folders: what is in ``models/``, whether it is whole, and putting a run there.

A model is a folder with ``model.keras``, ``card.json``, ``history.csv`` and
``predictions.csv``. Everything the dashboard says of a model is read from these. Nothing
here imports a deep-learning library, and no code is ever loaded from a model folder: the
card names a registered network, and only numbers are read from ``model.keras``.
"""

from __future__ import annotations

import hashlib
import json
import math
import os
import re
import shutil
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from kop_core import model_file, networks, wording
from kop_core.classes import CLASS_NAMES
from kop_core.errors import DataSetError, ModelError, RunError, UnknownModel, UnknownNetwork
from kop_core.evaluation import Evaluation, Predictions, evaluate
from kop_core.evaluation.calibration import RANGE
from kop_core.radiographs import preparation

CARD, WEIGHTS, HISTORY, PREDICTIONS = (
    "card.json",
    "model.keras",
    "history.csv",
    "predictions.csv",
)
FILES = (WEIGHTS, HISTORY, PREDICTIONS)
# In the folder of the models: the id of the one that is taken unless another is named. In capitals,
# which no id has.
DEFAULT = "DEFAULT"
MAX_MODEL_BYTES = 32 * 10**6
_MAX_CARD_BYTES = 2**20
# Of a metric: less than any page shows, and more than another processor makes of the same
# predictions.
_ROUNDING = 1e-3
_ID = re.compile(r"[a-z0-9][a-z0-9._-]{0,63}")
_CARD_KEYS = {
    "format": int,
    "id": str,
    "title": str,
    "version": str,
    "network": str,
    "options": dict,
    "preparation": dict,
    "classes": list,
    "data": dict,
    "split": dict,
    "evaluation": dict,
    "training": dict,
    "versions": dict,
    "checksums": dict,
    "statements": list,
}


@dataclass(frozen=True)
class Model:
    """A model folder whose card can be read.

    Attributes:
        folder: where it is.
        card: what ``card.json`` says.
    """

    folder: Path
    card: dict[str, Any]

    @property
    def id(self) -> str:
        """Its name in commands and addresses: the folder's."""
        return self.folder.name

    @property
    def title(self) -> str:
        """Its name in a sentence."""
        return self.card["title"]

    @property
    def version(self) -> str:
        """Which weights these are."""
        return self.card["version"]

    @property
    def cautions(self) -> tuple[str, ...]:
        """Sentences that stand beside every verdict: that it guesses, faults found in it."""
        return wording.cautions(self.card)

    @property
    def metrics(self) -> dict[str, dict[str, float | None]]:
        """Measured figures by name, each with ``value``, ``low`` and ``high``."""
        return self.card["evaluation"]["metrics"]

    @property
    def temperature(self) -> float | None:
        """What its logits are divided by when it is served; ``None`` if by nothing."""
        calibration = self.card.get("calibration")
        return calibration["temperature"] if calibration else None

    def summary(self) -> dict[str, Any]:
        """Return what a list of models shows."""
        keys = ("title", "version", "network", "classes", "split", "data")
        return {"id": self.id, **{k: self.card[k] for k in keys}, "metrics": self.metrics}


@dataclass(frozen=True)
class BrokenModel:
    """A folder in ``models/`` that cannot serve, and why.

    Attributes:
        folder: where it is.
        reason: a sentence.
    """

    folder: Path
    reason: str

    @property
    def id(self) -> str:
        """The folder's name."""
        return self.folder.name


def default_folder() -> Path:
    """Return where models are: ``$KOP_MODELS``, else ``models/`` beside the code."""
    chosen = os.environ.get("KOP_MODELS")
    return Path(chosen) if chosen else Path(__file__).resolve().parent.parent / "models"


def list_models(folder: Path | None = None) -> tuple[list[Model], list[BrokenModel]]:
    """Return the models of a folder, the default first and then by id, and those that cannot serve.

    Args:
        folder: of the models.

    Returns:
        The models, and the folders that cannot serve, with the reason.
    """
    folder = folder or default_folder()
    whole: list[Model] = []
    broken: list[BrokenModel] = []
    found = sorted(folder.iterdir()) if folder.is_dir() else []
    for path in found:
        if not path.is_dir() or path.name.startswith("."):
            continue
        try:
            whole.append(open_model(path))
        except ModelError as error:
            broken.append(BrokenModel(path, str(error)))
    first = _default_id(folder)
    whole.sort(key=lambda model: model.id != first)
    return whole, broken


def _default_id(folder: Path) -> str | None:
    try:
        with (folder / DEFAULT).open(encoding="utf-8") as stream:
            return stream.read(200).strip()
    except (OSError, ValueError):
        return None


def make_default(model_id: str, folder: Path | None = None) -> Model:
    """Have a model taken wherever none is named; without one that is the first by its id.

    Raises:
        UnknownModel: if there is none of that id; the message lists those there are.
        ModelError: if its folder is broken.
        RunError: if that cannot be written down.
    """
    from kop_core.training.run_folder import replacing

    folder = folder or default_folder()
    model = get(model_id, folder)
    try:
        with replacing(folder / DEFAULT) as stream:
            stream.write(f"{model.id}\n".encode())
    except OSError as error:
        raise RunError(
            f"{model.id} was not made the default: {folder / DEFAULT} cannot be written "
            f"({error.strerror})."
        ) from error
    return model


def get(model_id: str | None = None, folder: Path | None = None) -> Model:
    """Return the model called ``model_id``, or the default.

    Raises:
        UnknownModel: if there is none of that id; the message lists those there are.
        ModelError: if its folder is broken: no other is taken in place of the default.
    """
    folder = folder or default_folder()
    whole, broken = list_models(folder)
    first = _default_id(folder) if model_id is None else None
    for model in broken:
        if model.id == first:
            raise ModelError(
                f"{model.reason} It is the model that is taken where none is named: name another, "
                "or make another the default (models --make-default ID)."
            )
    if model_id is None and whole:
        return whole[0]
    for model in whole:
        if model.id == model_id:
            return model
    for model in broken:
        if model.id == model_id or model_id is None:
            raise ModelError(model.reason)
    known = ", ".join(m.id for m in whole) or "none"
    if model_id is None:
        raise UnknownModel(f"There is no model in {folder}. Train one, or restore the folder.")
    raise UnknownModel(f"There is no model called {model_id!r}. Known: {known}.")


def open_model(folder: Path) -> Model:
    """Read a model folder's card and see that its files are there.

    Raises:
        ModelError: naming the folder, the file and what to do.
    """
    card = _read_card(folder)
    for name in FILES:
        if not (folder / name).is_file():
            raise ModelError(f"The model {folder.name} lacks its {name}. {RESTORE}")
    return Model(folder, card)


RESTORE = "Restore the folder from where it came, for instance with git checkout."


def _read_card(folder: Path) -> dict[str, Any]:
    path = folder / CARD
    try:
        if path.stat().st_size > _MAX_CARD_BYTES:
            raise ModelError(f"The card of the model {folder.name} is too large to be one.")
        card = json.loads(path.read_text(encoding="utf-8"))
    except FileNotFoundError:
        raise ModelError(f"The model {folder.name} lacks its {CARD}. {RESTORE}") from None
    except (OSError, ValueError, RecursionError):
        raise ModelError(
            f"The card of the model {folder.name} is not readable. {RESTORE}"
        ) from None
    _check_card(folder, card)
    return card


def _check_card(folder: Path, card: Any) -> None:
    """Raise :class:`ModelError` unless everything that serving relies on is on the card."""
    where = f"The card of the model {folder.name}"
    if not isinstance(card, dict):
        raise ModelError(f"{where} is not readable. {RESTORE}")
    wrong = [key for key, kind in _CARD_KEYS.items() if not isinstance(card.get(key), kind)]
    if wrong:
        raise ModelError(f"{where} lacks {', '.join(wrong)}. {RESTORE}")
    if card["format"] != 1:
        raise ModelError(f"{where} was written by a newer KOP. Update KOP.")
    if card["classes"] != list(CLASS_NAMES):
        raise ModelError(
            f"{where} names the classes {', '.join(map(str, card['classes']))}; KOP knows "
            f"{', '.join(CLASS_NAMES)}, in this order."
        )
    try:
        network = networks.get(card["network"])
        side = preparation.from_config(card["preparation"]).height
    except (UnknownNetwork, ModelError) as error:
        raise ModelError(f"{where} cannot be used. {error}") from error
    problem = network.wrong_size(side)
    if problem:
        raise ModelError(f"{where} cannot be used. {problem} {RESTORE}")
    missing = [name for name in FILES if not isinstance(card["checksums"].get(name), str)]
    if missing:
        raise ModelError(f"{where} lacks the checksum of {', '.join(missing)}. {RESTORE}")
    wrong = _wrong_figures(card)
    if wrong:
        raise ModelError(f"{where} lacks its measured figures ({wrong}). {RESTORE}")
    wrong = _wrong_calibration(card)
    if wrong:
        raise ModelError(f"{where} has a calibration that cannot be used ({wrong}). {RESTORE}")


def _wrong_figures(card: dict[str, Any]) -> str | None:
    """Return the first part of a card that pages would stumble over, or ``None``."""
    evaluation, split = card["evaluation"], card["split"]
    metrics = evaluation.get("metrics")
    if not isinstance(metrics, dict) or "accuracy" not in metrics:
        return "accuracy"
    for name, metric in metrics.items():
        whole = _is_dict(metric) and {"value", "low", "high"} <= metric.keys()
        values = [metric[k] for k in ("value", "low", "high")] if whole else []
        if not (whole and (all(_is_share(v) for v in values) or values == [None] * 3)):
            return name
    checks = {
        "images": isinstance(evaluation.get("images"), int),
        "radiographs": isinstance(evaluation.get("radiographs"), (int, type(None))),
        "interval": isinstance(evaluation.get("interval"), str),
        "confusion": isinstance(evaluation.get("confusion"), list),
        "split": isinstance(split.get("protocol"), str),
        "copies": all(v is None or _is_share(v) for v in _shares(split)),
        "conflicts": isinstance(split.get("conflicts"), (str, type(None))),
        "fold": all(isinstance(split.get(k), (int, type(None))) for k in ("fold", "folds")),
        "statements": all(isinstance(s, str) for s in card["statements"]),
        "cautions": isinstance(card.get("cautions", []), list)
        and all(isinstance(s, str) for s in card.get("cautions", [])),
        "training": _is_dict(card["training"].get("config")),
        "versions": all(isinstance(v, str) for v in card["versions"].values()),
        "parameters": isinstance(card.get("parameters", 0), int),
    }
    return next((name for name, holds in checks.items() if not holds), None)


def _wrong_calibration(card: dict[str, Any]) -> str | None:
    """Return what of a temperature, served or only tried, is not as it must be."""
    for name in ("calibration", "calibration_tried"):
        found = card.get(name)
        if found is None:
            continue
        if not _is_dict(found) or found.get("method") != "temperature":
            return "its method"
        temperature, served = found.get("temperature"), name == "calibration"
        halves = [found.get("fitted_on"), found.get("judged_on")]
        checks = {
            "its temperature": (_is_number(temperature) and RANGE[0] <= temperature <= RANGE[1])
            or (temperature is None and not served and isinstance(found.get("reason"), str)),
            "whether it helps": found.get("helps") is served,
            "what it was fitted on": all(_is_dict(h) and _is_half(h) for h in halves),
            "its log loss": temperature is None or _is_loss(found.get("log_loss")),
        }
        wrong = next((what for what, holds in checks.items() if not holds), None)
        if wrong:
            return wrong
    return None


def _is_half(half: dict[str, Any]) -> bool:
    return isinstance(half.get("images"), int) and isinstance(
        half.get("radiographs"), (int, type(None))
    )


def _is_loss(loss: Any) -> bool:
    figures = [loss.get(k) for k in ("before", "after", "change")] if _is_dict(loss) else [None]
    return all(
        _is_dict(f) and all(_is_number(f.get(k)) for k in ("value", "low", "high")) for f in figures
    )


def _is_number(value: Any) -> bool:
    return isinstance(value, (int, float)) and not isinstance(value, bool) and math.isfinite(value)


def _shares(split: dict[str, Any]) -> list[Any]:
    names = ("identical_share", "same_radiograph_share", "same_patient_share")
    return [split.get(name) for name in names]


def _is_dict(value: Any) -> bool:
    return isinstance(value, dict)


def _is_share(value: Any) -> bool:
    return isinstance(value, (int, float)) and 0 <= value <= 1


def verify(model: Model) -> None:
    """See that no file of a model differs from what its card says, and each may be opened.

    A card can be made to fit a hostile file, so ``model.keras`` is looked into as well.

    Raises:
        ModelError: naming the first that does.
    """
    for name in FILES:
        path = model.folder / name
        try:
            actual = checksum(path)
        except OSError:
            raise ModelError(f"The model {model.id} lacks its {name}. {RESTORE}") from None
        if actual != model.card["checksums"][name]:
            raise ModelError(
                f"The file {name} of the model {model.id} was altered after the card was written, "
                f"and is not used. {RESTORE}"
            )
    fault = model_file.fault(model.folder / WEIGHTS)
    if fault:
        raise ModelError(
            f"The file {WEIGHTS} of the model {model.id} is none that KOP writes ({fault}), and is "
            f"not opened. {RESTORE}"
        )
    _verify_figures(model)


def _verify_figures(model: Model) -> None:
    try:
        found = evaluate(Predictions.read(model.folder / PREDICTIONS), draws=1)
    except DataSetError as error:
        raise ModelError(f"The predictions of the model {model.id}: {error}") from error
    require_figures(model, found)


def require_figures(model: Model, found: Evaluation, also: Iterable[str] = ()) -> None:
    """See that the counts on a card are those of its predictions: a card can be edited.

    Args:
        model: whose card.
        found: what was measured of its predictions.
        also: names of metrics that are held against each other too, but for the last digits.

    Raises:
        ModelError: if they are not.
    """
    kept = model.card["evaluation"]
    said = {name: metric["value"] for name, metric in kept["metrics"].items()}
    same = (
        kept["confusion"] == found.confusion.tolist()
        and kept["images"] == found.images
        and said["accuracy"] == found.metrics["accuracy"].value
    )
    both = ((said.get(name), found.metrics[name].value) for name in also)
    if not same or any(None not in pair and abs(pair[0] - pair[1]) >= _ROUNDING for pair in both):
        raise ModelError(
            f"The figures on the card of the model {model.id} are not those of its predictions. "
            f"{RESTORE}"
        )


def too_large(parameters: int) -> str | None:
    """Return, in a sentence, that a network's file cannot be published, or ``None``.

    Args:
        parameters: of the network; each takes two bytes in its file.
    """
    size = 2 * parameters
    if size <= MAX_MODEL_BYTES:
        return None
    return (
        f"Its model will have about {size / 1e6:.0f} MB, more than the "
        f"{MAX_MODEL_BYTES / 1e6:.0f} MB that can be published."
    )


def checksum(path: Path) -> str:
    """Return the SHA-256 of a file, hexadecimal."""
    digest = hashlib.sha256()
    with path.open("rb") as stream:
        while chunk := stream.read(1 << 20):
            digest.update(chunk)
    return digest.hexdigest()


def place_for(name: str, folder: Path | None = None) -> Path:
    """Return where a new model of that name goes.

    Raises:
        RunError: if the name is taken or no name.
    """
    if not _ID.fullmatch(name):
        raise RunError(
            f"{name!r} cannot be a model's name: use small letters, digits, dots and hyphens."
        )
    target = (folder or default_folder()) / name
    if target.exists():
        raise RunError(f"There is a model called {name} already. Choose another name.")
    return target


def publish(
    run: Path,
    name: str,
    folder: Path | None = None,
    title: str | None = None,
    source: str | None = None,
    terms: str | None = None,
    cautions: Sequence[str] = (),
) -> Model:
    """Put a finished run among the models, where the dashboard has it at once.

    Args:
        run: folder of the run.
        name: the model's id: small letters, digits, dots, hyphens, underscores.
        folder: of the models.
        title: its name in a sentence.
        source: where the training data came from.
        terms: what the training data's terms say of the weights.
        cautions: faults that were found in it; each is shown beside every verdict.

    Raises:
        RunError: if the name is taken or no name, or the run has not finished.
        ModelError: if the run's folder is damaged.
    """
    folder = folder or default_folder()
    target = place_for(name, folder)
    if not (run / CARD).is_file():
        raise RunError(f"The run {run} has not finished: it has no {CARD} yet.")
    model = open_model(run)
    verify(model)
    size = (run / WEIGHTS).stat().st_size
    if size > MAX_MODEL_BYTES:
        raise RunError(f"The model has {size / 1e6:.1f} MB; at most {MAX_MODEL_BYTES / 1e6:.0f}.")
    card = {**model.card, "id": name, "title": title or name}
    card["cautions"] = [*card.get("cautions", ()), *cautions]
    said = {"source": source, "terms": terms}
    card["data"] = {**card["data"], **{k: v for k, v in said.items() if v}}
    draft = folder / f".{name}.part"
    shutil.rmtree(draft, ignore_errors=True)
    draft.mkdir(parents=True)
    try:
        for file in FILES:
            shutil.copyfile(run / file, draft / file)
        text = json.dumps(card, indent=2, ensure_ascii=False) + "\n"
        (draft / CARD).write_text(text, encoding="utf-8")
        draft.replace(target)
    finally:
        shutil.rmtree(draft, ignore_errors=True)
    return open_model(target)
