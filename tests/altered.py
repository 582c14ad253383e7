"""Further models for the tests: copies of the shipped one that say something else.

Each is whole: its predictions, its figures and its checksums agree, as a run leaves them.
"""

from __future__ import annotations

import json
import os
import shutil
from pathlib import Path
from typing import Any

import numpy as np

from kop_core import model_store
from kop_core.evaluation import Predictions, evaluate
from kop_core.model_store import Model


def another(
    of: Model, folder: Path, name: str, *, noise: float = 0.0, seed: int = 0,
    part: np.ndarray | None = None, history: str | None = None, **card: Any,
) -> Model:  # fmt: skip
    """Write a model that says something else of the same images.

    Args:
        of: the model to begin with.
        folder: of the models.
        name: of the new one.
        noise: of its logits: the more, the worse it is.
        seed: of the noise.
        part: which of the images it was tested on, bool; all if not given.
        history: its ``history.csv``; that of the first if not given.
        card: what its card says otherwise.
    """
    place = folder / name
    place.mkdir(parents=True)
    for file in model_store.FILES:
        if file == model_store.WEIGHTS:
            try:
                os.link(of.folder / file, place / file)
            except OSError:  # another disk
                shutil.copyfile(of.folder / file, place / file)
        else:
            shutil.copyfile(of.folder / file, place / file)
    said = Predictions.read(of.folder / model_store.PREDICTIONS)
    if noise:
        rng = np.random.default_rng(seed)
        logits = np.log(np.maximum(said.probabilities, 1e-6))
        logits = logits + rng.normal(0, noise, (said.groups.max() + 1, 3))[said.groups]
        powers = np.exp(logits - logits.max(axis=1, keepdims=True))
        said = Predictions(said.files, said.radiographs, said.true,
                           powers / powers.sum(axis=1, keepdims=True))  # fmt: skip
    said = said if part is None else said.part(part)
    said.write(place / model_store.PREDICTIONS)
    if history is not None:
        (place / model_store.HISTORY).write_text(history)
    said = Predictions.read(place / model_store.PREDICTIONS)
    changed = {**of.card, "id": name, "title": name.capitalize(), **card}
    changed["evaluation"] = evaluate(said, draws=100).get_config()
    changed["checksums"] = {f: model_store.checksum(place / f) for f in model_store.FILES}
    (place / model_store.CARD).write_text(json.dumps(changed))
    return model_store.open_model(place)
