"""In how many digits a model is kept."""

from __future__ import annotations

import json
from dataclasses import replace

import numpy as np
import pytest

from kop_core import model_store
from kop_core.classifier import load_network
from kop_core.errors import RunError
from kop_core.evaluation import Predictions
from kop_core.training import finishing, train
from kop_core.training.run_folder import RunFolder
from tests.training.test_trainer import CONFIG

ONE_EPOCH = replace(CONFIG, epochs=1)


def test_half_precision_is_kept_where_it_will_do_and_single_where_not(
    small_data, small_network, tmp_path, monkeypatch
):
    half = RunFolder(train(ONE_EPOCH, small_data, tmp_path / "half"))
    monkeypatch.setattr(finishing, "MAX_DIFFERENCE", -1.0)
    single = RunFolder(train(ONE_EPOCH, small_data, tmp_path / "single"))
    for run, precision, digits in ((half, "float16", np.float16), (single, "float32", np.float32)):
        model = model_store.open_model(run.path)
        model_store.verify(model)
        assert model.card["storage"]["precision"] == precision
        kernel = load_network(model).get_layer("conv1").get_weights()[0]
        assert (kernel == kernel.astype(digits)).all()
    assert not (kernel == kernel.astype(np.float16)).all()
    card = json.loads(single.card.read_text())
    assert card["storage"]["largest_difference_of_a_probability"] == 0
    one, other = (Predictions.read(run.predictions) for run in (half, single))
    assert one.probabilities == pytest.approx(other.probabilities, abs=0.005)


def test_what_is_no_number_becomes_no_model(small_data, small_network, tmp_path, monkeypatch):
    said = finishing.predict
    monkeypatch.setattr(finishing, "predict", lambda *given: said(*given) * np.nan)
    with pytest.raises(RunError, match="no numbers"):
        train(ONE_EPOCH, small_data, tmp_path / "run")
    assert not (tmp_path / "run" / "card.json").exists()
