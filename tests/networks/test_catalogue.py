"""Every network: as large as published, flat, and good for a whole life at a small size."""

import keras
import numpy as np
import pytest

from kop_core import model_file, networks
from kop_core.errors import RunError
from kop_core.explanation import Explainer
from kop_core.networks import parts
from kop_core.radiographs import Radiograph, prepare

NAMES = networks.names()


def side_of(network):
    return max(64, network.sizes[0])


@pytest.fixture(scope="module")
def lives(tmp_path_factory):
    """Networks by name at a small side: in half precision, its file, and as it is served."""
    made = {}

    def get(name):
        if name not in made:
            network, path = networks.get(name), tmp_path_factory.mktemp(name) / "model.keras"
            keras.utils.set_random_seed(4)
            half = networks.build(name, precision="float16", size=side_of(network))
            half.save(path)
            served = networks.load(name, network.options, path, side_of(network))
            made[name] = half, path, served
        return made[name]

    return get


def pictures(side, number=2):
    y, x = np.mgrid[:side, :side] / (side - 1)
    grey = [np.sin((5 + k) * x) * np.cos((3 + k) * y) for k in range(number)]
    return np.repeat(np.stack(grey)[..., None], 3, axis=3).astype(np.float32)


def prepared(network):
    y, x = np.mgrid[:90, :80]
    pixels = (0.5 + 0.4 * np.sin(x / 9 + y / 7)).astype(np.float32)
    knee = Radiograph(pixels, "knee.png", "PNG", 8, "0")
    return prepare(knee, network.input_of(side_of(network)))[None]


def test_the_networks_of_the_literature_and_modern_ones_are_there():
    assert NAMES == (
        "paper", "alexnet", "googlenet", "vgg16", "vgg19", "resnet18", "resnet50",
        "mobilenet_v2", "densenet121", "efficientnet_lite0", "efficientnet_v2_b0",
        "convnext_tiny",
    )  # fmt: skip
    assert NAMES[0] == "paper", "the first is what pages fall back on"


# As printed by torchvision (AlexNet, ResNet-18), keras.applications, the paper's Table 1,
# Caffe's tools (GoogLeNet) and the tests of TensorFlow's TPU models (EfficientNet-Lite0).
PUBLISHED = {
    "paper": 15_610_499,
    "alexnet": 61_100_840,
    "googlenet": 6_998_552,
    "vgg16": 138_357_544,
    "vgg19": 143_667_240,
    "resnet18": 11_689_512,
    "resnet50": 25_636_712,
    "mobilenet_v2": 3_538_984,
    "densenet121": 8_062_504,
    "efficientnet_lite0": 4_652_008,
    "efficientnet_v2_b0": 7_200_312,
    "convnext_tiny": 28_589_128,
}


@pytest.mark.parametrize("name", NAMES)
def test_as_many_parameters_as_published(name):
    network = networks.get(name)
    counts = networks.published_counts(name)
    key = {"all": "parameters", "trainable": "trainable"}[network.counted]
    assert counts[key] == network.reference_parameters == PUBLISHED[name]
    assert network.reference and network.reference_classes == (3 if name == "paper" else 1000)


@pytest.mark.parametrize("name", NAMES)
def test_flat_functional_and_divisible(name, lives):
    (half, path, model), network = lives(name), networks.get(name)
    side = side_of(network)
    assert type(model).__name__ == "Functional"
    assert not any(hasattr(layer, "layers") for layer in model.layers)
    assert model.input_shape == (None, side, side, 3) and model.output_shape == (None, 3)
    last = model.layers[-1]
    assert last.name == "probabilities" and last.activation.__name__ == "softmax"
    assert len(model.get_layer(network.explain_layer).output.shape) == 4
    backbone, head = networks.split(model, name)
    parts_of_it = [{id(w) for w in part.weights} for part in (backbone, head)]
    assert set.union(*parts_of_it) == {id(w) for w in model.weights}
    assert parts_of_it[0].isdisjoint(parts_of_it[1]), "a path leads around the backbone's layer"
    # In half precision nothing is lost but digits, and the file is one that may be opened.
    assert model_file.fault(path) is None
    for kept, loaded in zip(half.get_weights(), model.get_weights()):
        assert np.isfinite(kept).all()
        np.testing.assert_array_equal(kept.astype(np.float32), loaded)


@pytest.mark.parametrize("name", NAMES)
def test_trains_a_step_saves_loads_classifies_and_explains(name, lives):
    (half, path, model), network = lives(name), networks.get(name)
    side = side_of(network)
    inputs = prepared(network)
    trainer = keras.Model(model.inputs[0], model.outputs[0])
    trainer.compile("sgd", "categorical_crossentropy", run_eagerly=True)
    before = model.layers[-1].get_weights()[0]
    loss = trainer.train_on_batch(pictures(side), np.eye(3, dtype=np.float32)[:2])
    assert np.isfinite(loss)
    assert not np.array_equal(before, model.layers[-1].get_weights()[0])
    trained = np.asarray(model(inputs, training=False))
    half.set_weights([w.astype(v.dtype) for w, v in zip(model.get_weights(), half.weights)])
    half.save(path)
    model.load_weights(path)
    found = np.asarray(model(inputs, training=False))
    assert found.shape == (1, 3) and found.sum() == pytest.approx(1, abs=1e-5)
    np.testing.assert_allclose(found, trained, atol=0.005)

    explainer = Explainer(model, network.explain_layer, black=-1.0)
    features = explainer.trunk(inputs, training=False)
    logits = np.asarray(explainer.head(features, training=False), np.float64)
    shares = np.exp(logits - logits.max())
    np.testing.assert_allclose(shares / shares.sum(), found, atol=1e-5)
    influences = [explainer.explain("gradcam", i, "any", inputs, features) for i in range(3)]
    assert all(i.heat.shape == (side, side) and i.cells == features.shape[1:3] for i in influences)
    # Of three classes at least one must have something that speaks for it.
    assert any(i.evidence and i.heat.max() > 0.5 for i in influences)


@pytest.mark.parametrize("name", ["googlenet", "convnext_tiny"])
def test_layers_of_our_own_work_in_16_bit(name, lives):
    side = side_of(networks.get(name))
    model = networks.build(name, precision="mixed_bfloat16", size=side)
    model.set_weights(lives(name)[2].get_weights())
    mixed = model(pictures(side), training=False)
    assert keras.backend.standardize_dtype(mixed.dtype) == "float32"
    inner = {layer.compute_dtype for layer in model.layers if layer.weights}
    assert inner == {"bfloat16", "float32"}
    full = lives(name)[2](pictures(side), training=False)
    np.testing.assert_allclose(np.asarray(mixed), np.asarray(full), atol=0.03)


def test_the_same_seed_gives_the_same_weights():
    first, again, other = (
        keras.utils.set_random_seed(seed) or networks.build("alexnet", size=64).get_weights()
        for seed in (4, 4, 5)
    )
    assert all(np.array_equal(a, b) for a, b in zip(first, again))
    assert not np.array_equal(first[0], other[0])


def test_pictures_are_standardised_as_torchvision_does_it():
    black_to_white = np.linspace(0, 255, 48, dtype=np.float32).reshape(1, 4, 4, 3)
    wanted = keras.applications.imagenet_utils.preprocess_input(
        black_to_white.copy(), data_format="channels_last", mode="torch"
    )
    inputs = keras.Input((4, 4, 3))
    model = keras.Model(inputs, parts.standardised(inputs))
    found = model(black_to_white / 127.5 - 1)
    np.testing.assert_allclose(np.asarray(found), wanted, atol=1e-5)
    assert model.count_params() == 0


def test_local_responses_are_normalised_as_in_its_publication():
    values = np.random.default_rng(0).normal(0, 300, (1, 2, 2, 7)).astype(np.float32)
    found = np.asarray(parts.response_norm()()(values))
    for c in range(7):
        near = (values[..., max(0, c - 2) : c + 3].astype(np.float64) ** 2).sum(-1)
        wanted = values[..., c] / (1 + 1e-4 / 5 * near) ** 0.75
        np.testing.assert_allclose(found[..., c], wanted, rtol=1e-4)


@pytest.mark.parametrize(("name", "last"), [("convnext_tiny", 0.1), ("efficientnet_v2_b0", 0.2)])
def test_stochastic_depth_grows_to_what_is_asked(name, last, lives):
    def rates(model):
        depths = [x for x in model.layers if isinstance(x, keras.layers.Dropout) and x.noise_shape]
        return [layer.rate for layer in depths]

    found = rates(lives(name)[2])
    assert found == sorted(found) and 0.9 * last < found[-1] <= last
    if name == "efficientnet_v2_b0":
        doubled = rates(networks.build(name, size=32, stochastic_depth=0.4))
        assert doubled == pytest.approx([2 * rate for rate in found])


def test_the_published_head_of_alexnet_has_its_dense_layers():
    model = networks.build("alexnet", size=64, head="original")
    rows = [(x.name, x.output.shape[1]) for x in model.layers if isinstance(x, keras.layers.Dense)]
    assert rows == [("fc1", 4096), ("fc2", 4096), ("probabilities", 3)]
    found = np.asarray(model(pictures(64)))
    assert np.isfinite(found).all()


@pytest.mark.parametrize(
    ("name", "options", "said"),
    [
        ("vgg16", {"head": "huge"}, "option head .* cannot be 'huge'. Known: pooled, original"),
        ("vgg16", {"head": 1}, "option head .* cannot be 1"),
        ("mobilenet_v2", {"variant": "tensorflow"}, "Known: torchvision, keras"),
        ("resnet18", {"dropout": "much"}, "from 0 to below 1, and is 'much'"),
        ("resnet18", {"dropout": 1.0}, "from 0 to below 1, and is 1.0"),
        ("resnet18", {"dropout": float("nan")}, "from 0 to below 1, and is nan"),
        ("resnet18", {"batch_norm_momentum": True}, "from 0 to below 1, and is True"),
    ],
)
def test_options_that_cannot_be(name, options, said):
    with pytest.raises(RunError, match=said):
        networks.build(name, size=64, **options)


def test_what_a_network_does_not_have_and_sides_that_it_cannot_take():
    assert "no option 'colour'. Known: head, dropout" in networks.get("vgg16").wrong_options(
        {"colour": 1}
    )
    with pytest.raises(TypeError, match="batch_norm_momentum"):
        networks.build("vgg16", size=64, batch_norm_momentum=0.9)
    with pytest.raises(RunError, match="alexnet takes pictures of 64 to 512 pixels a side, not 32"):
        networks.build("alexnet", size=32)
    with pytest.raises(RunError, match=r"not 513: below, .* few machines have the memory"):
        networks.build("densenet121", size=513)
