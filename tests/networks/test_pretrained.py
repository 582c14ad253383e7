"""Weights that were trained elsewhere: read with care, and set where they belong."""

import io
import json
import struct
import zipfile
from pathlib import Path

import numpy as np
import pytest

from kop_core import model_store, networks
from kop_core.errors import WeightsError
from kop_core.networks import pretrained

LITE0 = pretrained.SHIPPED / "efficientnet_lite0.npz"
KNEES = pretrained.SHIPPED / "knees" / "efficientnet_lite0.npz"


@pytest.fixture(scope="module")
def lite0():
    model = networks.build("efficientnet_lite0", size=64)
    head = [w.copy() for w in model.get_layer("probabilities").get_weights()]
    assert pretrained.load(model, "efficientnet_lite0", "imagenet") == 245
    for before, after in zip(head, model.get_layer("probabilities").get_weights()):
        np.testing.assert_array_equal(before, after)
    return model


@pytest.fixture(scope="module")
def picture():
    y, x = np.mgrid[:64, :64] / 63
    waves = [np.sin(9 * x + k) * np.cos(7 * y - k) for k in range(3)]
    return np.stack(waves, -1).astype(np.float32)[None]


def stem_by_hand(picture, weights, epsilon=1e-3):
    """EfficientNet-Lite0's first layers in NumPy: 3×3, stride 2, `same`, norm, ReLU6."""
    padded = np.pad(picture[0], ((0, 1), (0, 1), (0, 0)))
    kernel = weights["stem_conv/kernel"].astype(np.float64)
    out = np.zeros((32, 32, 32))
    for i in range(3):
        for j in range(3):
            out += padded[i : i + 64 : 2, j : j + 64 : 2][:32, :32] @ kernel[i, j]
    norm = {k: weights[f"stem_bn/{k}"].astype(np.float64) for k in
            ("gamma", "beta", "moving_mean", "moving_variance")}  # fmt: skip
    out = (out - norm["moving_mean"]) / np.sqrt(norm["moving_variance"] + epsilon)
    return np.clip(out * norm["gamma"] + norm["beta"], 0, 6)


def test_imagenet_weights_ship_with_efficientnet_lite0(lite0, picture):
    import keras

    stem = keras.Model(lite0.inputs[0], lite0.get_layer("stem_relu").output)
    wanted = stem_by_hand(picture, pretrained.read_weights(LITE0))
    np.testing.assert_allclose(np.asarray(stem(picture))[0], wanted, atol=2e-5)
    backbone, head = networks.split(lite0, "efficientnet_lite0")
    features = np.asarray(backbone(picture))
    assert features.shape == (1, 2, 2, 1280)
    assert np.isfinite(features).all() and features.std() > 0.1
    np.testing.assert_allclose(np.asarray(head(features)), np.asarray(lite0(picture)), atol=1e-6)
    assert len(LITE0.read_bytes()) < 7e6 and (LITE0.parent / "NOTICE.md").is_file()


def test_a_backbone_is_written_as_it_is_read(lite0, tmp_path):
    path = tmp_path / "encoder.npz"
    pretrained.save(lite0, "efficientnet_lite0", path)
    written, shipped = pretrained.read_weights(path), pretrained.read_weights(LITE0)
    assert written.keys() == shipped.keys()
    assert all(np.array_equal(written[k], shipped[k]) for k in shipped)
    assert [p.name for p in tmp_path.iterdir()] == ["encoder.npz"]
    other = networks.build("efficientnet_lite0", size=32)
    assert pretrained.load(other, "efficientnet_lite0", path) == 245
    kernel = other.get_layer("head_conv").kernel
    np.testing.assert_array_equal(kernel, lite0.get_layer("head_conv").kernel)
    with pytest.raises(WeightsError, match=r"must end in \.npz"):
        pretrained.save(lite0, "efficientnet_lite0", tmp_path / "encoder.h5")
    with pytest.raises(WeightsError, match="could not be written"):
        pretrained.save(lite0, "efficientnet_lite0", tmp_path / "none" / "encoder.npz")


def test_what_half_precision_cannot_hold_is_not_written(tmp_path):
    model = networks.build("efficientnet_lite0", size=32)
    model.get_layer("stem_bn").gamma.assign(np.full(32, 1e5))
    with pytest.raises(WeightsError, match="stem_bn/gamma is too large"):
        pretrained.save(model, "efficientnet_lite0", tmp_path / "encoder.npz")
    assert not list(tmp_path.iterdir())


def test_weights_that_do_not_fit_are_named_and_none_is_set(lite0):
    weights = pretrained.read_weights(LITE0)
    before = lite0.get_weights()
    short = {k: v for k, v in weights.items() if k != "head_bn/beta"}
    other = {**weights, "head_conv/kernel": np.zeros((1, 1, 320, 64), np.float16)}
    more = {**weights, "b16_project/kernel": np.zeros((1, 1, 2, 2), np.float16)}
    short["stem_bn/beta"] = np.full(32, 7, np.float16)
    for faulty, said in (
        (short, "it has no head_bn/beta"),
        (other, r"its head_conv/kernel has the shape \(1, 1, 320, 64\), not \(1, 1, 320, 1280\)"),
        (more, "it has 'b16_project/kernel', which that network does not have"),
    ):
        with pytest.raises(WeightsError, match=said):
            pretrained.apply_weights(lite0, faulty, "efficientnet_lite0", "mine.npz")
    for a, b in zip(before, lite0.get_weights()):
        np.testing.assert_array_equal(a, b)
    # What a file has for the head is left where it is.
    head = {**weights, "probabilities/kernel": np.zeros((1280, 3), np.float16)}
    assert pretrained.apply_weights(lite0, head, "efficientnet_lite0") == 245
    with pytest.raises(WeightsError, match="It seems to be of the network efficientnet_lite0"):
        pretrained.load(networks.build("paper", size=128), "paper", LITE0)


def test_networks_without_weights_say_so():
    with pytest.raises(WeightsError, match=r"No ImageNet weights of the network paper .*\.npz"):
        pretrained.load(networks.build("paper", size=128), "paper", "imagenet")


SHARED = Path(__file__).resolve().parents[3] / "shared" / "weights"


@pytest.mark.skipif(not SHARED.is_dir(), reason="the weights for development are not here")
@pytest.mark.parametrize(
    ("name", "file", "weights"),
    [
        ("alexnet", "alexnet_conv", 10),
        ("vgg16", "vgg16_conv", 26),
        ("mobilenet_v2", "mobilenet_v2", 260),
    ],
)
def test_the_weights_for_development_fit(name, file, weights, picture):
    model = networks.build(name, size=64)
    assert pretrained.load(model, name, SHARED / f"{file}.npz") == weights
    backbone, _ = networks.split(model, name)
    features = np.asarray(backbone(picture))
    assert np.isfinite(features).all() and features.std() > 0.1
    if name == "mobilenet_v2":
        with pytest.raises(WeightsError, match=r"seems to be of .*mobilenet_v2, variant torch"):
            keras_model = networks.build(name, size=32, variant="keras")
            pretrained.load(keras_model, name, SHARED / f"{file}.npz")


def first_convolution_by_hand(picture, kernel, bias, stride, padding):
    """A convolution of standardised pictures in NumPy, as torchvision does it."""
    mean, std = np.array([0.485, 0.456, 0.406]), np.array([0.229, 0.224, 0.225])
    x = ((picture[0] + 1) / 2 - mean) / std
    x = np.pad(x, ((padding, padding), (padding, padding), (0, 0)))
    side, sides = kernel.shape[0], (len(x) - kernel.shape[0]) // stride + 1
    out = np.zeros((sides, sides, kernel.shape[3])) + bias
    for i in range(side):
        for j in range(side):
            rows = slice(i, i + stride * (sides - 1) + 1, stride)
            columns = slice(j, j + stride * (sides - 1) + 1, stride)
            out += x[rows, columns] @ kernel[i, j]
    return out


@pytest.mark.parametrize(
    ("name", "layer", "stride", "padding"),
    [
        ("alexnet", "conv1", 4, 2),
        ("vgg16", "block1_conv1", 1, 1),
        ("mobilenet_v2", "f0_conv", 2, 1),
    ],
)
def test_pictures_come_in_as_torchvision_s_weights_want_them(name, layer, stride, padding, picture):
    import keras

    model = networks.build(name, size=64)
    first = model.get_layer(layer)
    found = keras.Model(model.inputs[0], first.output)(picture)
    weights = [w.astype(np.float64) for w in first.get_weights()]
    kernel, bias = [*weights, 0.0][:2]
    wanted = first_convolution_by_hand(picture.astype(np.float64), kernel, bias, stride, padding)
    if name != "mobilenet_v2":
        wanted = np.maximum(wanted, 0)
    np.testing.assert_allclose(np.asarray(found)[0], wanted, atol=1e-4)


@pytest.mark.parametrize(
    ("name", "module", "options", "tolerance"),
    [
        # Caffe's means are not quite torchvision's, which shows where zeros are padded.
        ("vgg16", "vgg16", {}, 0.01),
        ("resnet50", "resnet", {}, 0.03),
        ("mobilenet_v2", "mobilenet_v2", {"variant": "keras"}, 1e-4),
        ("efficientnet_v2_b0", "efficientnet_v2", {}, 1e-4),
        ("convnext_tiny", "convnext", {}, 1e-4),
    ],
)
def test_weights_of_keras_applications_see_what_they_want(
    name, module, options, tolerance, picture, monkeypatch
):
    import keras

    make = getattr(keras.applications, pretrained._APPLICATIONS[name])
    theirs = make(include_top=False, weights=None, input_shape=(64, 64, 3))
    rng = np.random.default_rng(0)
    for layer in pretrained._flat(theirs):
        if layer.weights and "kernel" not in layer.weights[0].name:
            for w in layer.weights:
                w.assign(np.asarray(w) + rng.uniform(0, 0.3, w.shape))
    monkeypatch.setattr(pretrained, "_download", lambda asked: {name: theirs}[asked])
    model = networks.build(name, size=64, **options)
    backbone, head = networks.split(model, name)
    before = [w.copy() for w in head.get_weights()]
    assert pretrained.load(model, name, "imagenet") == len(backbone.weights)
    assert all(np.array_equal(a, b) for a, b in zip(before, head.get_weights()))
    features = theirs.output
    if name == "convnext_tiny":  # its normalisation belongs to the head here
        features = theirs.layers[-1].input
    prepare = getattr(keras.applications, module).preprocess_input
    wanted = keras.Model(theirs.inputs[0], features)(prepare(127.5 * (picture + 1)))
    found = np.asarray(backbone(picture))
    assert np.abs(found - wanted).max() <= tolerance * np.std(wanted)


def test_without_internet_a_file_is_asked_for(monkeypatch):
    import keras

    def fail(**settings):
        assert settings["weights"] == "imagenet" and not settings["include_top"]
        raise Exception("URL fetch failure")  # as Keras does it

    monkeypatch.setattr(keras.applications, "DenseNet121", fail)
    monkeypatch.setattr(keras.applications, "MobileNetV2", fail)
    model = networks.build("mobilenet_v2", size=32)
    with pytest.raises(WeightsError, match="option variant to keras, or name a file"):
        pretrained.load(model, "mobilenet_v2", "imagenet")
    with pytest.raises(WeightsError, match=r"could not be downloaded .* or name a file"):
        pretrained._download("densenet121")


def test_it_is_known_where_weights_come_from():
    found = {name: pretrained.where_from(name) for name in networks.names()}
    assert found["efficientnet_lite0"] == "shipped" and found["alexnet"] == "file"
    assert found["paper"] is found["resnet18"] is found["googlenet"] is None
    assert found["vgg19"] == found["mobilenet_v2"] == "download"


def test_an_encoder_of_knees_ships_with_what_it_was_learned_from():
    assert pretrained.named("efficientnet_lite0") == ("imagenet", "knees")
    assert pretrained.named("alexnet") == ("imagenet",) and pretrained.named("paper") == ()
    assert pretrained.file_of("efficientnet_lite0", "knees") == KNEES
    assert pretrained.file_of("densenet121", "imagenet") is None
    assert pretrained.file_of("paper", "mine.npz") == Path("mine.npz")
    model = networks.build("efficientnet_lite0", size=64)
    assert pretrained.load(model, "efficientnet_lite0", "knees") == 245
    photographs = pretrained.read_weights(LITE0)["head_conv/kernel"]
    assert not np.allclose(model.get_layer("head_conv").kernel, photographs, atol=1e-3)
    assert KNEES.stat().st_size < 8e6
    facts = json.loads(KNEES.with_suffix(".json").read_text(encoding="utf-8"))
    assert facts["sha256"] == model_store.checksum(KNEES)
    assert facts["pretrained"]["sha256"] == model_store.checksum(LITE0)
    assert facts["validation"]["quadratic_weighted_kappa"]["low"] > 0.5
    with pytest.raises(WeightsError, match=r"no encoder of the network paper .* has one of effi"):
        pretrained.load(networks.build("paper", size=128), "paper", "knees")


def npy(array=None, **header):
    stream = io.BytesIO()
    if array is None:
        said = {"descr": "<f2", "fortran_order": False, "shape": (4,), **header}
        np.lib.format.write_array_header_1_0(stream, said)
        stream.write(b"\0" * 8)
    else:
        np.lib.format.write_array(stream, array, allow_pickle=True)
    return stream.getvalue()


def headed(header: str) -> bytes:
    """Return the beginning of an array with any header."""
    return b"\x93NUMPY\x01\x00" + struct.pack("<H", len(header)) + header.encode("latin1")


@pytest.mark.parametrize(
    "header",
    [
        "{'descr': '<f4', 'shape': (",
        "-" * 3_000 + "1",
        "{'descr': '<f4', 'fortran_order': False, 'shape': (True,)}",
        "{'descr': '<f4', 'fortran_order': False, 'shape': (0, 99999999999999999999)}",
        "{1: 2}",
        "",
    ],
)
def test_a_hostile_header_is_no_array(header, tmp_path):
    with zipfile.ZipFile(tmp_path / "odd.npz", "w") as archive:
        archive.writestr("a/kernel.npy", headed(header))
    with pytest.raises(WeightsError, match=r"odd\.npz"):
        pretrained.read_weights(tmp_path / "odd.npz")


def test_a_file_with_flipped_bits_is_damaged_whatever_breaks(tmp_path):
    whole = io.BytesIO()
    rng = np.random.default_rng(0)
    np.savez_compressed(
        whole, **{"a/kernel": rng.normal(size=(40, 40)).astype(np.float32).round(1)}
    )
    refused = 0
    for _ in range(150):
        torn = bytearray(whole.getvalue())
        for place in rng.integers(0, len(torn), 3):
            torn[place] ^= 1 << rng.integers(0, 8)
        (tmp_path / "torn.npz").write_bytes(torn)
        try:
            pretrained.read_weights(tmp_path / "torn.npz")
        except WeightsError as error:
            refused += "torn.npz" in str(error)
    assert refused > 100


@pytest.mark.parametrize(
    ("members", "said"),
    [
        ({"a/kernel": npy(np.array([{}], dtype=object))}, "is of object, not of float16"),
        ({"a/kernel": npy(np.zeros(3))}, "is of float64, not of float16 or float32"),
        ({"a/kernel": npy(np.zeros(3, ">f4"))}, "not of float16 or float32"),
        ({"a/kernel": npy(shape=(2**40,))}, "not as large as it says"),
        ({"a/kernel": npy(shape=(-4,))}, "not as large as it says"),
        ({"a/kernel": npy(np.array([np.nan], "f4"))}, "values that are no numbers"),
        ({"a/kernel": b"no array"}, "is no array of numbers"),
        ({"kernel": npy()}, "names no layer and weight"),
        ({"../a/kernel": npy()}, "names no layer and weight"),
        ({"a/kernel": npy(), "a/kernel.npy": npy()}, "names no layer and weight"),
        ({}, "it holds no array"),
    ],
)
def test_a_hostile_file_is_refused(members, said, tmp_path):
    path = tmp_path / "weights.npz"
    with zipfile.ZipFile(path, "w", zipfile.ZIP_DEFLATED) as archive:
        for name, content in members.items():
            archive.writestr(name, content)
    with pytest.raises(WeightsError, match=rf"weights\.npz cannot be read as weights: .*{said}"):
        pretrained.read_weights(path)


def test_a_file_that_becomes_too_large_is_not_unpacked(tmp_path, monkeypatch):
    path = tmp_path / "weights.npz"
    np.savez_compressed(path, **{"a/kernel": np.zeros(2**20, np.float32)})
    assert path.stat().st_size < 2**14
    monkeypatch.setattr(pretrained, "MAX_BYTES", 2**20)
    with pytest.raises(WeightsError, match="becomes larger than 1 MB"):
        pretrained.read_weights(path)
    monkeypatch.setattr(pretrained, "MAX_BYTES", 2**10)
    with pytest.raises(WeightsError, match="is larger than"):
        pretrained.read_weights(path)


def test_what_is_no_file_of_weights(tmp_path):
    with pytest.raises(WeightsError, match="There is no file"):
        pretrained.read_weights(tmp_path / "none.npz")
    with pytest.raises(WeightsError, match=r"they end in \.npz"):
        pretrained.read_weights(tmp_path / "model.keras")
    for content in (b"", b"PK\3\4 and nothing", LITE0.read_bytes()[:100_000]):
        (tmp_path / "torn.npz").write_bytes(content)
        with pytest.raises(WeightsError, match=r"torn\.npz is damaged"):
            pretrained.read_weights(tmp_path / "torn.npz")
