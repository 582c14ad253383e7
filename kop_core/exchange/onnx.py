"""A model as an ONNX file, checked against Keras before anyone has it.

The conversion is tf2onnx's, the check ONNX Runtime's. What a program must know to use the
file stands in its metadata: how pixels are prepared, the classes in order, what the model
was measured to be worth, and that it is no medical device.
"""

from __future__ import annotations

import itertools
import json
import logging
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

import kop_core
from kop_core import radiographs, wording
from kop_core.classifier import load_network
from kop_core.errors import DataSetError, ExportError, RadiographError
from kop_core.evaluation import Predictions, apply_temperature
from kop_core.evaluation.calibration import LEAST
from kop_core.model_store import PREDICTIONS, Model
from kop_core.radiographs.preparation import JOINTS, Preparation, from_config

if TYPE_CHECKING:
    import keras
    import onnx

INPUT, OUTPUT = "radiograph", "probabilities"
OPSET = 18
MAX_DIFFERENCE = 1e-3
IMAGES = 16
NOTICE = "Not a medical device. For research and teaching, not for a diagnosis."
_BATCH = 8


@dataclass(frozen=True)
class OnnxExport:
    """An ONNX file that was checked.

    Attributes:
        file: where it is.
        largest_difference: of a probability from Keras's, over all images and classes.
        images: how many it was checked on.
        real: whether these are radiographs of the model's test part; else they were
            generated, because none of those was there.
        bytes: its size.
    """

    file: Path
    largest_difference: float
    images: int
    real: bool
    bytes: int


def export_onnx(
    model: Model, file: str | Path, data_folder: str | Path | None = None
) -> OnnxExport:
    """Write a model as ONNX and check it against Keras.

    The file's input ``radiograph`` is float32 of shape (batch, height, width, channels) as
    the model's preparation gives it; its output ``probabilities`` is float32 of shape
    (batch, classes), with the temperature of a calibrated model applied. Any batch is taken.

    Args:
        model: the model, or a finished run that was opened as one.
        file: where to write; a file that is there is replaced if the check holds.
        data_folder: the data set that it was measured on, to check on radiographs of the
            test part; without one, or if none of them is there, generated pictures serve.

    Raises:
        ModelError: if the model's folder is damaged.
        ExportError: if the network cannot be written as ONNX, a package is missing, or a
            probability differs by more than 0.001; no file is left then.
    """
    file = Path(file)
    if file.is_dir() or not file.absolute().parent.is_dir():
        raise ExportError(f"{file} cannot be written: name a file in a folder that is there.")
    network = load_network(model)
    pictures, real = _pictures(model, data_folder)
    written = _convert(network, model.temperature)
    _describe(written, model)
    expected = _served(network, model, pictures)
    draft = file.with_name(file.name + ".part")
    try:
        draft.write_bytes(written.SerializeToString())
        difference = float(np.abs(_run(draft, pictures) - expected).max())
        if not difference <= MAX_DIFFERENCE:  # a difference that is no number fails too
            raise ExportError(
                f"As ONNX a probability of {model.id} differs by {difference:.4f} from Keras's, "
                f"more than the {MAX_DIFFERENCE} allowed. The file was not kept."
            )
        draft.replace(file)
    except OSError as error:
        raise ExportError(f"{file} cannot be written ({error.strerror}).") from error
    finally:
        draft.unlink(missing_ok=True)
    return OnnxExport(file, difference, len(pictures), real, file.stat().st_size)


def _pictures(model: Model, data_folder: str | Path | None) -> tuple[np.ndarray, bool]:
    """Return inputs to check on, (images, height, width, channels), and whether they are real."""
    preparation = from_config(model.card["preparation"])
    found = list(_test_radiographs(model, preparation, data_folder)) if data_folder else []
    if found:
        return np.stack(found), True
    return _generated(preparation), False


def _test_radiographs(
    model: Model, preparation: Preparation, data_folder: str | Path
) -> Iterator[np.ndarray]:
    """Prepare radiographs of the test part, from all over its table."""
    folder = Path(data_folder)
    folder = (folder.parent if folder.is_file() else folder).resolve()  # named by its manifest
    try:
        files = Predictions.read(model.folder / PREDICTIONS).files
    except DataSetError as error:
        raise ExportError(f"The test part of {model.id} is not known: {error}") from error
    step = max(1, len(files) // (4 * IMAGES))
    # Every fourth first, so that those which cannot be read have stand-ins from all over.
    some = files[::step]
    given = 0
    for file in (name for first in range(4) for name in some[first::4]):
        try:
            path = (folder / file).resolve()
            if not path.is_relative_to(folder) or not path.is_file():
                continue
            prepared = radiographs.prepare(radiographs.read(path), preparation)
        except (RadiographError, OSError, ValueError):  # also names that no system has
            continue
        yield prepared
        given += 1
        if given == IMAGES:
            return


def _generated(preparation: Preparation) -> np.ndarray:
    """Draw pictures that use the whole range, coarse and fine, the same every time."""
    rng = np.random.default_rng(20250101)
    height, width, channels = preparation.shape
    pictures = []
    for place in range(IMAGES):
        cells = 2 ** (1 + place % 6)
        coarse = rng.random((cells, cells))
        rows = np.linspace(0, cells - 1, height).astype(int)
        columns = np.linspace(0, cells - 1, width).astype(int)
        grey = 0.8 * coarse[rows][:, columns] + 0.2 * rng.random((height, width))
        grey = preparation.low + (preparation.high - preparation.low) * grey
        pictures.append(np.repeat(grey[:, :, None], channels, axis=2))
    return np.stack(pictures).astype(np.float32)


def _served(network: keras.Model, model: Model, pictures: np.ndarray) -> np.ndarray:
    """Return the probabilities as :class:`kop_core.classifier.Classifier` gives them."""
    batches = (pictures[i : i + _BATCH] for i in range(0, len(pictures), _BATCH))
    values = np.concatenate([np.asarray(network(batch, training=False)) for batch in batches])
    values = values.astype(np.float64)
    values /= values.sum(axis=1, keepdims=True)
    return values if model.temperature is None else apply_temperature(values, model.temperature)


def _run(file: Path, pictures: np.ndarray) -> np.ndarray:
    """Return the probabilities as ONNX Runtime gives them, from batches of several sizes."""
    runtime = _package("onnxruntime")
    options = runtime.SessionOptions()
    options.log_severity_level = 4  # what is wrong is raised
    try:
        session = runtime.InferenceSession(file, options, providers=["CPUExecutionProvider"])
        cuts = [0, 1, *range(_BATCH, len(pictures), _BATCH), len(pictures)]
        parts = [
            session.run([OUTPUT], {INPUT: pictures[a:b]})[0]
            for a, b in itertools.pairwise(cuts)
            if a < b
        ]
    except Exception as error:  # its errors have no common base
        raise ExportError(f"ONNX Runtime does not run the file: {_first_line(error)}.") from error
    return np.concatenate(parts).astype(np.float64)


def _convert(network: keras.Model, temperature: float | None) -> onnx.ModelProto:
    """Return a network as ONNX, from pixels to what is served."""
    import tensorflow as tf

    tf2onnx = _package("tf2onnx")
    signature = [tf.TensorSpec(network.inputs[0].shape, tf.float32, name=INPUT)]

    @tf.function(input_signature=signature)
    def forward(radiograph: tf.Tensor) -> dict[str, tf.Tensor]:
        values = network(radiograph, training=False)
        if temperature is not None:
            values = tf.nn.softmax(tf.math.log(tf.maximum(values, LEAST)) / temperature)
        return {OUTPUT: values}

    try:
        with _quiet("tf2onnx"):
            written, _ = tf2onnx.convert.from_function(forward, signature, opset=OPSET)
    except Exception as error:  # it has no errors of its own
        raise ExportError(
            f"The network {network.name} cannot be written as ONNX: {_first_line(error)}."
        ) from error
    _check(written, network.name)
    return written


def _check(written: onnx.ModelProto, name: str) -> None:
    """See that everything in a graph is ONNX: tf2onnx leaves in what it does not know."""
    import onnx

    graph = written.graph
    versions = {imported.domain: imported.version for imported in written.opset_import}
    unknown = {
        node.op_type
        for node in graph.node
        if not onnx.defs.has(node.op_type, versions.get(node.domain, 0), node.domain)
    }
    if unknown:
        raise ExportError(
            f"The network {name} cannot be written as ONNX: there is nothing in it for "
            f"{', '.join(sorted(unknown))}."
        )
    given, gives = [i.name for i in graph.input], [o.name for o in graph.output]
    if given != [INPUT] or gives != [OUTPUT]:
        raise ExportError(
            f"The network {name} cannot be written as ONNX: of its inputs and outputs "
            f"{', '.join((*given, *gives))} were left."
        )


def _describe(written: onnx.ModelProto, model: Model) -> None:
    """Say in a file what it is, how it is fed and what it is worth."""
    card, graph = model.card, written.graph
    written.producer_name, written.producer_version = "KOP", kop_core.__version__
    written.graph.name = model.id
    for value in (graph.input[0], graph.output[0]):
        value.type.tensor_type.shape.dim[0].dim_param = "batch"
    del graph.value_info[:]  # sizes that follow from the rest, under other names
    badge, _ = wording.split_badge(card["split"])
    statements = [*card["statements"], *model.cautions]
    if NOTICE not in statements:
        statements.append(NOTICE)
    written.doc_string = "\n".join([*statements, _feeding(from_config(card["preparation"]))])
    facts = {
        "kop_version": kop_core.__version__,
        "model_id": model.id,
        "model_version": model.version,
        "title": model.title,
        "network": card["network"],
        "classes": json.dumps(card["classes"]),
        "preparation": json.dumps(card["preparation"]),
        "temperature": json.dumps(model.temperature),
        "split": badge,
        "accuracy": wording.accuracy(card["evaluation"]),
        "statements": json.dumps(statements, ensure_ascii=False),
        "notice": NOTICE,
    }
    for key, value in facts.items():
        entry = written.metadata_props.add()
        entry.key, entry.value = key, value


def _feeding(preparation: Preparation) -> str:
    side = preparation.height
    if preparation.fit == JOINTS:
        shown = (
            f"the squares around both knee joints, each scaled to {side} × {side}, side by side "
            "(of one knee the square and its mirror image), as kop_core.radiographs cuts them out"
        )
    else:
        shown = f"both sides scaled to {side} rows and {preparation.width} columns whatever the "
        shown += "aspect ratio"
    return (
        f"Input: the radiograph as grey values from {preparation.low:g} (black, air) to "
        f"{preparation.high:g} (white, dense), {shown}, repeated {preparation.channels} times as "
        "the last axis."
    )


def _package(name: str) -> Any:
    import importlib

    try:
        return importlib.import_module(name)
    except ImportError as error:
        raise ExportError(
            f"ONNX files need the package {name}, which is not there or does not start. Install "
            "what KOP needs: pip install -r requirements.txt"
        ) from error


@contextmanager
def _quiet(name: str) -> Iterator[None]:
    """Keep a library's logger still; what it only logs is found in :func:`_check`."""
    logger = logging.getLogger(name)
    before = logger.level
    logger.setLevel(logging.CRITICAL)
    try:
        yield
    finally:
        logger.setLevel(before)


def _first_line(error: Exception) -> str:
    lines = str(error).strip().splitlines() or [type(error).__name__]
    return lines[0][:300].rstrip(".")
