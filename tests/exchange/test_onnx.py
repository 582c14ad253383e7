"""ONNX files, run by ONNX Runtime beside what Keras says of the same radiographs."""

from __future__ import annotations

import json
import math
import shutil
import sys
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from kop_core import model_store, radiographs, wording
from kop_core.classes import CLASS_NAMES
from kop_core.classifier import Classifier
from kop_core.errors import ExportError, ModelError
from kop_core.evaluation import Predictions, apply_temperature
from kop_core.exchange import onnx as exchange
from kop_core.exchange.onnx import MAX_DIFFERENCE, NOTICE, OnnxExport, export_onnx
from kop_core.networks import registry
from kop_core.radiographs.preparation import from_config
from tests.calibrations import kept
from tests.exchange.conftest import NETWORK, build
from tests.test_model_store import change_card


@pytest.fixture(scope="module")
def paper(shipped, shared, tmp_path_factory) -> OnnxExport:
    """The shipped model, converted once."""
    return export_onnx(shipped, tmp_path_factory.mktemp("onnx") / "p.onnx", shared / "paper1947")


@pytest.fixture(scope="module")
def small(trained, data, tmp_path_factory) -> OnnxExport:
    """The small model, converted once."""
    model = model_store.open_model(trained)
    return export_onnx(model, tmp_path_factory.mktemp("onnx") / "small.onnx", data)


def run(file: Path, pictures: np.ndarray) -> np.ndarray:
    import onnxruntime

    session = onnxruntime.InferenceSession(file, providers=["CPUExecutionProvider"])
    (probabilities,) = session.run(["probabilities"], {"radiograph": pictures})
    return probabilities


def prepared(folder: Path, files, model) -> np.ndarray:
    how = from_config(model.card["preparation"])
    return np.stack([radiographs.prepare(radiographs.read(folder / f), how) for f in files])


def served(model, folder: Path, files) -> np.ndarray:
    classifier = Classifier(model)
    found = [classifier.classify(radiographs.read(folder / f)).probabilities for f in files]
    return np.array([[p[name] for name in CLASS_NAMES] for p in found])


def facts(file: Path) -> dict[str, str]:
    import onnx

    return {entry.key: entry.value for entry in onnx.load(file).metadata_props}


def test_the_shipped_network_says_the_same_of_real_radiographs(paper, shipped, shared):
    assert paper.real and paper.images == 16
    assert paper.largest_difference <= MAX_DIFFERENCE == 1e-3
    assert paper.bytes == paper.file.stat().st_size
    # As Keras said it at the end of the training, of others than were checked.
    known = Predictions.read(shipped.folder / "predictions.csv")
    some = slice(2, None, 12)
    pictures = prepared(shared / "paper1947", known.files[some], shipped)
    found = run(paper.file, pictures)
    assert len(found) == 24
    assert np.abs(found - known.probabilities[some]).max() <= MAX_DIFFERENCE
    assert (found.argmax(axis=1) == known.predicted[some]).all()


def test_the_file_says_what_it_is_how_it_is_fed_and_what_it_is_worth(paper, shipped):
    import onnx

    onnx.checker.check_model(paper.file, full_check=True)
    written = onnx.load(paper.file)
    said = facts(paper.file)
    assert json.loads(said["classes"]) == ["healthy", "osteopenia", "osteoporosis"]
    assert json.loads(said["preparation"]) == shipped.card["preparation"]
    assert (said["model_id"], said["model_version"]) == (shipped.id, shipped.version)
    assert said["accuracy"] == wording.accuracy(shipped.card["evaluation"])
    assert said["split"] == "random split, 100 % of test images have copies in training"
    assert json.loads(said["temperature"]) is None and said["notice"] == NOTICE
    assert {*shipped.card["statements"], *shipped.cautions} <= set(json.loads(said["statements"]))
    for sentence in (*shipped.card["statements"], *shipped.cautions, NOTICE):
        assert sentence in written.doc_string
    assert "from -1 (black, air) to 1 (white, dense)" in written.doc_string
    assert [(o.domain, o.version) for o in written.opset_import if not o.domain] == [("", 18)]
    shapes = {
        value.name: [d.dim_param or d.dim_value for d in value.type.tensor_type.shape.dim]
        for value in (*written.graph.input, *written.graph.output)
    }
    assert shapes == {"radiograph": ["batch", 224, 224, 3], "probabilities": ["batch", 3]}


def test_a_batch_of_any_size_gives_what_is_served(small, trained, data):
    model = model_store.open_model(trained)
    files = Predictions.read(trained / "predictions.csv").files
    assert small.real and small.images == len(files) == 6
    assert small.largest_difference <= MAX_DIFFERENCE
    pictures = prepared(data, files, model)
    expected = served(model, data, files)
    assert np.ptp(expected, axis=0).min() > 0.01  # the pictures are told apart
    for size in (1, 2, 5, 33):
        places = np.arange(size) % len(files)
        found = run(small.file, pictures[places])
        assert found.dtype == np.float32 and found.shape == (size, 3)
        assert np.abs(found - expected[places]).max() <= MAX_DIFFERENCE
        np.testing.assert_allclose(found.sum(axis=1), 1, atol=1e-5)


@pytest.mark.parametrize("temperature", [0.05, 2.5, 20.0])
def test_the_temperature_of_a_calibrated_model_is_in_the_file(
    run_folder, small, trained, data, tmp_path, temperature
):
    change_card(run_folder, calibration=kept(temperature), calibration_tried=None)
    model = model_store.open_model(run_folder)
    done = export_onnx(model, tmp_path / "m.onnx", data)
    assert done.largest_difference <= MAX_DIFFERENCE
    files = Predictions.read(trained / "predictions.csv").files
    pictures = prepared(data, files, model)
    found, plain = run(done.file, pictures), run(small.file, pictures)
    assert np.abs(found - served(model, data, files)).max() <= MAX_DIFFERENCE
    assert np.abs(found - apply_temperature(plain, temperature)).max() <= MAX_DIFFERENCE
    assert np.abs(found - plain).max() > 0.1
    assert json.loads(facts(done.file)["temperature"]) == temperature


@pytest.mark.parametrize("off", [0.002, math.nan])
def test_a_file_that_differs_from_keras_is_not_kept(model, tmp_path, monkeypatch, off):
    before = exchange._served
    monkeypatch.setattr(exchange, "_served", lambda *args: before(*args) + off)
    file = tmp_path / "out" / "m.onnx"
    file.parent.mkdir()
    with pytest.raises(ExportError, match=r"differs by .* from Keras's, more than the 0\.001"):
        export_onnx(model, file)
    assert not list(file.parent.iterdir())
    file.write_bytes(b"an earlier one")
    with pytest.raises(ExportError, match="not kept"):
        export_onnx(model, file)
    assert [p.name for p in file.parent.iterdir()] == ["m.onnx"]
    assert file.read_bytes() == b"an earlier one"


def test_generated_pictures_serve_where_no_radiograph_is(model, data, tmp_path):
    elsewhere = tmp_path / "elsewhere"
    files = Predictions.read(model.folder / "predictions.csv").files
    for file in files:
        (elsewhere / file).parent.mkdir(parents=True, exist_ok=True)
        (elsewhere / file).symlink_to(data / file)  # leads out of the folder
    for folder in (None, tmp_path / "none", elsewhere):
        done = export_onnx(model, tmp_path / "m.onnx", folder)
        assert not done.real and done.images == 16
        assert done.largest_difference <= MAX_DIFFERENCE


def test_radiographs_that_cannot_be_read_are_passed_over(model, data, tmp_path, monkeypatch):
    files = Predictions.read(model.folder / "predictions.csv").files
    some = tmp_path / "some"
    for file in files[:3]:
        (some / file).parent.mkdir(parents=True, exist_ok=True)
        shutil.copy(data / file, some / file)
    (some / files[0]).write_bytes(b"\x89PNG cut")
    # A model of somebody else's may name what no file can be called.
    before = Predictions.read
    odd = ("a\0b.png", "x" * 5000, "../some", "/etc/passwd")
    monkeypatch.setattr(
        exchange.Predictions,
        "read",
        lambda path: replace(before(path), files=(*odd, *before(path).files)),
    )
    done = export_onnx(model, tmp_path / "m.onnx", some / "radiographs.csv")
    assert (done.real, done.images) == (False, 16)  # no such table
    (some / "table.csv").write_text("file,class\n")
    done = export_onnx(model, tmp_path / "m.onnx", some / "table.csv")
    assert (done.real, done.images) == (True, 2)


@pytest.mark.parametrize("package", ["tf2onnx", "onnxruntime"])
def test_a_missing_package_is_said(model, tmp_path, monkeypatch, package):
    monkeypatch.setitem(sys.modules, package, None)
    with pytest.raises(ExportError, match=f"need the package {package}, .* pip install"):
        export_onnx(model, tmp_path / "m.onnx")
    assert not list(tmp_path.glob("m.onnx*"))


def test_a_place_that_cannot_be_written_is_said(model, tmp_path, monkeypatch):
    (tmp_path / "file").touch()
    for place in (tmp_path, tmp_path / "none" / "m.onnx", tmp_path / "file" / "m.onnx"):
        with pytest.raises(ExportError, match="name a file in a folder that is there"):
            export_onnx(model, place)

    def full(self, content):
        self.touch()
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(Path, "write_bytes", full)
    with pytest.raises(ExportError, match=r"cannot be written \(No space left on device\)"):
        export_onnx(model, tmp_path / "m.onnx")
    assert not list(tmp_path.glob("m.onnx*"))


def test_a_network_that_onnx_has_no_words_for_is_said(model, tmp_path, monkeypatch):
    def odd(**options):
        import keras
        import tensorflow as tf

        class Odd(keras.layers.Layer):
            def call(self, inputs):
                return tf.math.lgamma(inputs + 1)

        before = build(**options)
        return keras.Model(before.inputs, Odd()(before.outputs[0]))

    monkeypatch.setitem(registry._NETWORKS, "many", replace(NETWORK, builder=odd))
    with pytest.raises(ExportError, match=r"cannot be written as ONNX: .* Lgamma"):
        export_onnx(model, tmp_path / "m.onnx")
    assert not list(tmp_path.glob("m.onnx*"))


def test_an_altered_model_is_not_written(run_folder, tmp_path):
    with (run_folder / "model.keras").open("ab") as stream:
        stream.write(b"1")
    with pytest.raises(ModelError, match="altered"):
        export_onnx(model_store.open_model(run_folder), tmp_path / "m.onnx")
    assert not list(tmp_path.glob("m.onnx*"))
