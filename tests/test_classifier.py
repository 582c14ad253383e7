"""Serving: the shipped model on real radiographs, and maps of influence."""

from __future__ import annotations

from concurrent.futures import ThreadPoolExecutor

import numpy as np
import pytest

from kop_core import networks, wording
from kop_core.classes import CLASS_NAMES
from kop_core.classifier import Classifier
from kop_core.datasets import feeding, scan
from kop_core.errors import ExplanationError, ModelError, WrongBodyPart
from kop_core.evaluation import Predictions, apply_temperature
from kop_core.explanation import METHODS, Explainer
from kop_core.radiographs import Radiograph, prepare, read


@pytest.fixture(scope="module")
def knee(full_size) -> Radiograph:
    return read(full_size[0])


def test_probabilities_of_every_real_radiograph(classifier, full_size, shared):
    for path in [*full_size, *sorted((shared / "dicom").glob("knee*"))]:
        prediction = classifier.classify(read(path))
        assert tuple(prediction.probabilities) == CLASS_NAMES
        assert sum(prediction.probabilities.values()) == pytest.approx(1, abs=1e-9)
        assert prediction.class_name == max(
            prediction.probabilities, key=prediction.probabilities.get
        )
        assert prediction.influence is None


def test_the_same_as_plain_keras(classifier, shipped, knee):
    model = networks.load("paper", shipped.card["options"], shipped.folder / "model.keras")
    plain = np.asarray(model(prepare(knee, classifier.preparation)[None], training=False))[0]
    served = list(classifier.classify(knee).probabilities.values())
    if shipped.temperature is not None:
        plain = apply_temperature(plain.astype(np.float64), shipped.temperature)
    np.testing.assert_allclose(served, plain, atol=1e-5)


def test_the_predictions_on_disk_are_those_of_the_shipped_file(classifier, shipped, shared):
    kept = Predictions.read(shipped.folder / "predictions.csv")
    folder = shared / "paper1947"
    assert scan(folder).fingerprint == shipped.card["data"]["fingerprint"]
    for place in range(0, len(kept.files), 40):
        prediction = classifier.classify(read(folder / kept.files[place]))
        found, expected = list(prediction.probabilities.values()), kept.probabilities[place]
        if shipped.temperature is not None:
            expected = apply_temperature(expected, shipped.temperature)
        np.testing.assert_allclose(found, expected, atol=0.002)


def test_faults_of_the_model_stand_beside_every_verdict(classifier, shipped, knee):
    assert any("both legs" in c for c in shipped.cautions)
    assert set(shipped.cautions) <= set(classifier.classify(knee).cautions)


def test_a_chest_is_refused(classifier, shared):
    with pytest.raises(WrongBodyPart, match="CHEST"):
        classifier.classify(read(shared / "dicom" / "chest_1.dcm"))


@pytest.mark.parametrize("method", METHODS)
def test_every_method_draws_a_map(classifier, knee, method):
    influence = classifier.classify(knee, method, "healthy").influence
    again = classifier.classify(knee, method, "healthy").influence
    assert influence.heat.shape == (224, 224) and influence.heat.dtype == np.float32
    assert influence.class_name == "healthy" and influence.method == method
    assert influence.heat.min() >= 0 and influence.heat.max() <= 1
    assert influence.evidence == (influence.heat.max() > 0)
    np.testing.assert_allclose(influence.heat, again.heat, atol=1e-4)


@pytest.mark.parametrize("method", ["gradcam", "gradcam++", "layercam"])
def test_maps_of_the_head_equal_tf_keras_vis_on_the_whole_network(shipped, knee, method):
    from tf_keras_vis.gradcam import Gradcam
    from tf_keras_vis.gradcam_plus_plus import GradcamPlusPlus
    from tf_keras_vis.layercam import Layercam
    from tf_keras_vis.utils.model_modifiers import ReplaceToLinear
    from tf_keras_vis.utils.scores import CategoricalScore

    tool = {"gradcam": Gradcam, "gradcam++": GradcamPlusPlus, "layercam": Layercam}[method]
    model = networks.load("paper", shipped.card["options"], shipped.folder / "model.keras")
    inputs = prepare(knee, networks.get("paper").input)[None]
    whole = tool(model, ReplaceToLinear(), clone=True)
    explainer = Explainer(model, "conv9", black=-1.0)
    features = explainer.trunk(inputs, training=False)
    for place, name in enumerate(CLASS_NAMES):
        raw = whole(CategoricalScore([place]), inputs, penultimate_layer="conv9",
                    expand_cam=False, normalize_cam=False)  # fmt: skip
        raw = np.maximum(np.asarray(raw)[0], 0)
        ours = explainer.explain(method, place, name, inputs, features)
        assert ours.cells == raw.shape == (6, 6)
        assert ours.evidence == bool(raw.max() > 1e-9)
        if ours.evidence:
            # The map at the middle of each cell is the cell's own value.
            middle = ours.heat[18::37, 18::37][:6, :6]
            np.testing.assert_allclose(middle, raw / raw.max(), atol=0.12)


def test_explaining_does_not_alter_the_model(classifier, knee):
    before = classifier.classify(knee).probabilities
    for method in METHODS:
        classifier.classify(knee, method, "osteopenia")
    assert classifier.classify(knee).probabilities == before


def test_no_positive_evidence_is_said_and_not_drawn():
    import keras
    from keras import layers

    inputs = keras.Input((32, 32, 3))
    x = layers.Conv2D(4, 3, activation="relu", kernel_initializer="ones", name="last")(inputs)
    x = layers.GlobalAveragePooling2D()(x)
    against = keras.initializers.Constant(-1.0)
    outputs = layers.Dense(3, activation="softmax", kernel_initializer=against)(x)
    explainer = Explainer(keras.Model(inputs, outputs), "last")
    picture = np.ones((1, 32, 32, 3), np.float32)
    features = explainer.trunk(picture)
    influence = explainer.explain("gradcam", 1, "osteopenia", picture, features)
    assert not influence.evidence and influence.heat.max() == 0


def test_scorecam_masks_to_black(classifier, knee, monkeypatch):
    explainer = classifier._explainer
    classifier.classify(knee, "scorecam", "healthy")
    model = explainer._tools["scorecam"].model
    seen = []
    monkeypatch.setattr(model, "predict", lambda x, batch_size=None: seen.append(x[0]) or
                        np.zeros((len(x[0]), 3), np.float32))  # fmt: skip
    classifier.classify(knee, "scorecam", "healthy")
    masked = seen[0]
    original = prepare(knee, classifier.preparation) + 1
    assert len(masked) <= 64 and masked.min() >= -1e-5
    assert (masked <= original + 1e-4).all()


def test_unknown_methods_and_classes(classifier, knee):
    with pytest.raises(ExplanationError, match="Known: gradcam"):
        classifier.classify(knee, "magic")
    with pytest.raises(ExplanationError, match="sarcopenia"):
        classifier.classify(knee, "gradcam", "sarcopenia")


def test_several_threads(classifier, full_size):
    radiographs = [read(p) for p in full_size[:4]]
    alone = [classifier.classify(r, "gradcam") for r in radiographs]
    with ThreadPoolExecutor(4) as pool:
        together = list(pool.map(lambda r: classifier.classify(r, "gradcam"), radiographs * 3))
    for i, prediction in enumerate(together):
        assert prediction.probabilities == pytest.approx(alone[i % 4].probabilities, abs=1e-6)
        np.testing.assert_allclose(
            prediction.influence.heat, alone[i % 4].influence.heat, atol=1e-4
        )


def test_altered_weights_are_not_loaded(models, shipped):
    from kop_core import model_store

    with (models / shipped.id / "model.keras").open("r+b") as stream:
        stream.seek(20_000_000)
        stream.write(b"\0" * 64)
    with pytest.raises(ModelError, match="altered"):
        Classifier(model_store.get(shipped.id, models))


def test_weights_of_another_network_are_said(models, shipped):
    import json

    import keras

    from kop_core import model_store

    folder = models / shipped.id
    other = keras.Sequential([keras.Input((4,)), keras.layers.Dense(2)])
    other.save(folder / "model.keras")
    card = json.loads((folder / "card.json").read_text())
    card["checksums"]["model.keras"] = model_store.checksum(folder / "model.keras")
    (folder / "card.json").write_text(json.dumps(card))
    with pytest.raises(ModelError, match="do not fit the network paper"):
        Classifier(model_store.get(shipped.id, models))


def test_verdicts_in_words(classifier, knee):
    from dataclasses import replace

    prediction = classifier.classify(knee)

    def said(*p, calibrated=False):
        probabilities = dict(zip(CLASS_NAMES, p))
        return wording.verdict(
            replace(prediction, probabilities=probabilities, calibrated=calibrated)
        )

    assert said(0.04, 0.22, 0.74, calibrated=True) == (
        "Osteoporosis is most likely (74 %). Osteopenia (22 %) cannot be ruled out."
    )
    assert said(0.97, 0.02, 0.01) == "Healthy is most likely (score 97 %)."
    assert "Osteoporosis (9 %) cannot be ruled out" in said(0.9, 0.01, 0.09)
    assert said(0.4, 0.35, 0.25) == (
        "The model is undecided between healthy (score 40 %) and osteopenia (35 %). "
        "Osteoporosis (25 %) cannot be ruled out."
    )


def test_training_and_serving_prepare_alike(classifier, full_size, tmp_path):
    folder = tmp_path / "Normal"
    folder.mkdir()
    (folder / "a.jpg").write_bytes(full_size[0].read_bytes())
    data = scan(tmp_path)
    fed = feeding.load(data, data.items, classifier.preparation).batch(np.array([0]))[0]
    np.testing.assert_array_equal(fed, prepare(read(full_size[0]), classifier.preparation))
