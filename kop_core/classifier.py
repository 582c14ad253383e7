"""A model folder becomes a function from radiographs to predictions."""

from __future__ import annotations

import threading
from dataclasses import replace
from typing import TYPE_CHECKING

import numpy as np

from kop_core import model_store, networks, radiographs
from kop_core.classes import CLASS_NAMES
from kop_core.errors import ExplanationError, ModelError
from kop_core.evaluation import apply_temperature
from kop_core.explanation import Explainer
from kop_core.model_store import Model
from kop_core.prediction import Prediction
from kop_core.radiographs import Radiograph
from kop_core.radiographs.preparation import from_config, laid_back

if TYPE_CHECKING:
    import keras


def load_network(model: Model) -> keras.Model:
    """Verify a model's folder and return its network in float32, with its weights.

    Raises:
        ModelError: if a file is missing, altered or does not fit the network.
    """
    model_store.verify(model)
    name, weights = model.card["network"], model.folder / model_store.WEIGHTS
    shown = from_config(model.card["preparation"])
    try:
        return networks.load(name, model.card["options"], weights, shown.height, shown.view)
    except Exception as error:  # h5py and Keras raise anything at all on a wrong file
        raise ModelError(
            f"The weights of the model {model.id} do not fit the network {name}. "
            "Restore the folder from where it came."
        ) from error


class Classifier:
    """One model, loaded. It may be used from several threads."""

    def __init__(self, model: Model) -> None:
        """Verify a model's folder and load it.

        Raises:
            ModelError: if a file is missing, altered or does not fit the network.
        """
        import tensorflow as tf

        keras_model = load_network(model)
        self.model = model
        self.preparation = from_config(model.card["preparation"])
        network = networks.get(model.card["network"])
        self._explainer = Explainer(keras_model, network.explain_layer, black=self.preparation.low)
        self._lock = threading.Lock()
        signature = [tf.TensorSpec((1, *self.preparation.shape), tf.float32)]

        @tf.function(input_signature=signature)
        def forward(inputs: tf.Tensor) -> tuple[tf.Tensor, tf.Tensor]:
            features = self._explainer.trunk(inputs, training=False)
            return features, tf.nn.softmax(self._explainer.head(features, training=False))

        self._forward = forward

    def classify(
        self, radiograph: Radiograph, explain: str | None = None, class_name: str | None = None
    ) -> Prediction:
        """Classify one radiograph.

        Args:
            radiograph: what was read.
            explain: name of a method of :data:`kop_core.explanation.METHODS`, or ``None``.
            class_name: the class to explain; by default the predicted one.

        Raises:
            WrongBodyPart: if the file's header says that it shows no knee.
            ExplanationError: for an unknown method or class.
        """
        import tensorflow as tf

        if class_name is not None and class_name not in CLASS_NAMES:
            raise ExplanationError(f"There is no class {class_name!r}: {', '.join(CLASS_NAMES)}.")
        radiographs.require_knee(radiograph)
        prepared = radiographs.prepare(radiograph, self.preparation)
        inputs = tf.constant(prepared[np.newaxis])
        features, outputs = self._forward(inputs)
        values = np.asarray(outputs[0], dtype=np.float64)
        if not np.isfinite(values).all():
            raise ModelError(f"The model {self.model.id} gave no number for {radiograph.name}.")
        values /= values.sum()
        if self.model.temperature is not None:
            values = apply_temperature(values, self.model.temperature)
        probabilities = dict(zip(CLASS_NAMES, values.tolist()))
        influence = None
        if explain is not None:
            chosen = class_name or CLASS_NAMES[int(values.argmax())]
            with self._lock:  # tf-keras-vis keeps state between calls
                influence = self._explainer.explain(
                    explain, CLASS_NAMES.index(chosen), chosen, inputs, features
                )
            heat = laid_back(influence.heat, radiograph, self.preparation)
            influence = replace(influence, heat=heat)
        return Prediction(
            file=radiograph.name,
            probabilities=probabilities,
            model=self.model.id,
            version=self.model.version,
            calibrated=self.model.temperature is not None,
            cautions=self.model.cautions + radiographs.cautions(radiograph, self.preparation),
            influence=influence,
        )
