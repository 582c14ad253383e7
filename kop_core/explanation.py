"""Maps of influence: where in the picture the network found what speaks for a class.

All methods come from tf-keras-vis. The three that need only the last feature maps run on
the network's head alone, from features that classifying has already computed; a map then
costs a few milliseconds instead of another pass.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np
from PIL import Image

from kop_core.errors import ExplanationError

if TYPE_CHECKING:
    import keras


@dataclass(frozen=True)
class Method:
    """A way to draw a map of influence.

    Attributes:
        name: its name in commands.
        title: its name in a sentence.
        what: what it shows, in a sentence.
        source: where it was published.
        caution: what must be said beside such a map, or nothing.
    """

    name: str
    title: str
    what: str
    source: str
    caution: str = ""


METHODS: dict[str, Method] = {
    m.name: m
    for m in (
        Method(
            "gradcam",
            "Grad-CAM",
            "Feature maps of the last convolution, each weighted by how much the class's score "
            "rises with it.",
            "Selvaraju et al. 2017",
        ),
        Method(
            "gradcam++",
            "Grad-CAM++",
            "As Grad-CAM, with weights that keep several separate regions apart.",
            "Chattopadhay et al. 2018",
        ),
        Method(
            "layercam",
            "LayerCAM",
            "As Grad-CAM, weighted place by place, so finer.",
            "Jiang et al. 2021",
        ),
        Method(
            "scorecam",
            "ScoreCAM",
            "No gradients: the picture is masked by each of the 64 strongest feature maps, and the "
            "class's score decides how much that map counts. Takes seconds.",
            "Wang et al. 2020",
        ),
        Method(
            "saliency",
            "Saliency",
            "How much the class's score changes with each pixel, for better or worse.",
            "Simonyan et al. 2014",
            "It marks what speaks for the class and what speaks against it alike.",
        ),
    )
}

SCORECAM_MAPS = 64
_SCORECAM_BATCH = 8


@dataclass(frozen=True, eq=False)
class Influence:
    """What a network looked at for one class.

    Attributes:
        method: name of the method.
        class_name: the class whose score was followed.
        heat: float32, 0 none to 1 most, to be stretched over the whole picture: as large as
            the network's input, or where that shows parts only, of the picture's proportions.
        evidence: whether anything speaks for the class; if not, ``heat`` is zero.
        cells: rows and columns of the map before it was enlarged to ``heat``.
    """

    method: str
    class_name: str
    heat: np.ndarray
    evidence: bool
    cells: tuple[int, int]


class Explainer:
    """Draws maps of one network. Made once and kept: making one costs more than a map."""

    def __init__(self, model: keras.Model, explain_layer: str, black: float = 0.0) -> None:
        """Take a flat Functional classifier with a softmax, and the layer to look at.

        ``trunk`` leads from the input to that layer's output, ``head`` from there to the
        logits. The model given is not altered.

        Args:
            model: the classifier.
            explain_layer: name of a layer through which all paths lead.
            black: input value of a black pixel, which is what masking must leave.
        """
        import keras

        self._size = tuple(model.input_shape[1:3])
        self._black = black
        features = model.get_layer(explain_layer).output
        logits = _linear_copy(model.layers[-1])(model.layers[-1].input)
        self.trunk = keras.Model(model.inputs[0], features)
        self.head = keras.Model(features, logits)
        self._logits = keras.Model(model.inputs, logits)
        self._tools: dict[str, Any] = {}

    def explain(
        self, method: str, class_index: int, class_name: str, inputs: Any, features: Any
    ) -> Influence:
        """Draw the map of one class.

        Args:
            method: a name in :data:`METHODS`.
            class_index: place of the class among the outputs.
            class_name: its name.
            inputs: the prepared picture, shape (1, height, width, channels).
            features: what :attr:`trunk` gives for it.

        Raises:
            ExplanationError: for an unknown method, or if the map holds no numbers.
        """
        if method not in METHODS:
            raise ExplanationError(f"There is no method {method!r}. Known: {', '.join(METHODS)}.")
        score = _OneClass(class_index)
        if method == "saliency":
            raw = self._tool(method)(score, inputs, normalize_map=False)
        elif method == "scorecam":
            tool = self._tool(method)
            raw = tool(
                score,
                inputs - self._black,
                penultimate_layer=tool.model.get_layer("features"),
                seek_penultimate_conv_layer=False,
                max_N=min(SCORECAM_MAPS, int(features.shape[-1])),
                expand_cam=False,
                normalize_cam=False,
            )
        else:
            raw = self._tool(method)(
                score,
                features,
                penultimate_layer=self.head.layers[0],
                seek_penultimate_conv_layer=False,
                expand_cam=False,
                normalize_cam=False,
            )
        return self._influence(method, class_name, np.asarray(raw, dtype=np.float32)[0])

    def _tool(self, method: str) -> Any:
        """Return the tf-keras-vis object of a method, made at its first use."""
        if method not in self._tools:
            if method == "saliency":
                from tf_keras_vis.saliency import Saliency

                tool = Saliency(self._logits, clone=False)
            elif method == "scorecam":
                from tf_keras_vis.scorecam import Scorecam

                tool = Scorecam(self._masking_model(), clone=False)
            else:
                from tf_keras_vis.gradcam import Gradcam
                from tf_keras_vis.gradcam_plus_plus import GradcamPlusPlus
                from tf_keras_vis.layercam import Layercam

                kind = {"gradcam": Gradcam, "gradcam++": GradcamPlusPlus, "layercam": Layercam}
                tool = kind[method](self.head, clone=False)
            self._tools[method] = tool
        return self._tools[method]

    def _masking_model(self) -> keras.Model:
        """Return the network for ScoreCAM, with inputs in which black is zero.

        tf-keras-vis masks by multiplying, which must lead to black, not to the middle
        grey that zero is for most networks. It takes the softmax of logits by itself.
        """
        import keras
        from keras import layers

        above_black = keras.Input(self.trunk.input_shape[1:])
        x = layers.Rescaling(1.0, offset=self._black)(above_black)
        x = layers.Activation("linear", name="features")(self.trunk(x))
        model = keras.Model([above_black], self.head(x))

        def predict(inputs: list[np.ndarray], batch_size: int | None = None) -> np.ndarray:
            # Keras's own predict writes a progress bar and keeps memory at every call.
            size = batch_size or _SCORECAM_BATCH
            (pictures,) = inputs
            parts = [pictures[i : i + size] for i in range(0, len(pictures), size)]
            return np.concatenate([np.asarray(model([part], training=False)) for part in parts])

        model.predict = predict
        return model

    def _influence(self, method: str, class_name: str, raw: np.ndarray) -> Influence:
        if not np.isfinite(raw).all():
            raise ExplanationError(
                f"The {METHODS[method].title} map of {class_name} holds values that are no "
                "numbers. Choose another method."
            )
        positive = np.maximum(raw, 0)
        peak = float(positive.max())
        evidence = peak > 1e-9
        if evidence:
            picture = Image.fromarray(positive / peak)
            # Pillow aligns the cells' middles, not their corners as SciPy's zoom does.
            large = picture.resize(self._size[::-1], Image.Resampling.BICUBIC)
            heat = np.clip(np.asarray(large, dtype=np.float32), 0, 1)
        else:
            heat = np.zeros(self._size, np.float32)
        return Influence(method, class_name, heat, evidence, raw.shape)


class _OneClass:
    """tf-keras-vis's score: the output of one class."""

    def __init__(self, index: int) -> None:
        self.index = index

    def __call__(self, outputs: Any) -> Any:
        return outputs[:, self.index]


def _linear_copy(last: keras.Layer) -> keras.Layer:
    """Return the last layer without its softmax, with the same weights."""
    config = {**last.get_config(), "activation": "linear", "name": "logits"}
    copy = type(last).from_config(config)
    copy.build(last.input.shape)
    copy.set_weights(last.get_weights())
    return copy
