"""What the tests share: the real radiographs beside the checkout, models, small data sets."""

from __future__ import annotations

import csv
import os
import shutil
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from kop_core import backend

backend.settle()

ROOT = Path(__file__).resolve().parent.parent
SHARED = ROOT.parent / "shared" / "data"
REQUIRE_ALL = bool(os.environ.get("KOP_REQUIRE_ALL"))


# The longest files, in the order in which they are begun: what is left for the end is short, so
# that no worker stands idle.
LONGEST = (
    "browser/test_train.py", "datasets/test_copies.py", "browser/test_browser.py",
    "pages/test_train.py", "networks/test_catalogue.py", "browser/test_data.py",
    "training/test_trainer.py", "pages/test_data.py", "browser/test_report.py",
    "training/test_worker.py", "test_cli.py", "pages/test_confusion.py", "exchange/test_onnx.py",
    "benchmarking/test_cluster.py", "benchmarking/test_beside.py", "test_classifier.py",
    "reproduction/test_reproducing.py",
    "benchmarking/test_benchmarking.py", "training/test_mirrored.py", "browser/test_compare.py",
    "evaluation/test_metrics.py", "training/test_transfer.py", "evaluation/test_comparison.py",
    "benchmarking/test_command.py", "reproduction/test_command.py", "browser/test_confusion.py",
)  # fmt: skip


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Put the longest files first; within a file the tests keep their order."""
    first = {ROOT / "tests" / name: place for place, name in enumerate(LONGEST)}
    items.sort(key=lambda item: first.get(item.path, len(first)))


def missing(what: str) -> None:
    """Skip a test that cannot run here; in CI, where it must, fail it."""
    if REQUIRE_ALL:
        pytest.fail(what)
    pytest.skip(what)


@pytest.fixture(scope="session", autouse=True)
def cache(tmp_path_factory) -> Iterator[Path]:
    """A folder of the tests' own for what KOP keeps: a user's stays as it is."""
    folder = tmp_path_factory.mktemp("cache")
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("KOP_CACHE", str(folder))  # what tests start has it too
        patch.setenv("KOP_MARKS", str(tmp_path_factory.mktemp("marks")))
        yield folder


@pytest.fixture(scope="session")
def shared() -> Path:
    """The folder of real radiographs."""
    if not SHARED.is_dir():
        missing(f"needs the radiographs in {SHARED}")
    return SHARED


@pytest.fixture(scope="session")
def full_size(shared) -> list[Path]:
    """Nine knees, three a class, as a person would upload them."""
    files = sorted(p for p in (shared / "full_size").rglob("*") if p.is_file())
    assert len(files) == 9
    return files


@pytest.fixture(scope="session")
def shipped():
    """The reproduction of the paper, which is always in ``models/``."""
    from kop_core import model_store

    return model_store.get("paper-random", ROOT / "models")


@pytest.fixture(scope="session")
def classifier(shipped):
    """The reproduction of the paper, loaded."""
    from kop_core.classifier import Classifier

    return Classifier(shipped)


@pytest.fixture
def models(tmp_path, shipped) -> Path:
    """A folder of models that a test may break."""
    folder = tmp_path / "models"
    shutil.copytree(shipped.folder, folder / shipped.id)
    return folder


@pytest.fixture
def small_data(tmp_path) -> Path:
    """Twelve generated pictures a class, of six radiographs, that a small network can tell
    apart."""
    return write_radiographs(make_data(tmp_path / "data", 12))


def make_data(folder: Path, count: int) -> Path:
    """Write class folders of generated pictures: the brighter, the denser the stripes."""
    rng = np.random.default_rng(5)
    for place, name in enumerate(("Normal", "Osteopenia", "Osteoporosis")):
        (folder / name).mkdir(parents=True)
        for i in range(count):
            x = np.arange(96)
            stripes = 90 + 40 * place + 30 * np.sin(x * (0.2 + 0.3 * place) + rng.uniform(0, 6))
            picture = stripes[None, :] + rng.normal(0, 6, (128, 96))
            grey = np.clip(picture, 0, 255).astype(np.uint8)
            Image.fromarray(grey).save(folder / name / f"{name} {i}.png")
    return folder


def write_radiographs(folder: Path) -> Path:
    """Say that two files each show one radiograph."""
    files = sorted(p.relative_to(folder).as_posix() for p in folder.rglob("*.png"))
    with (folder / "radiographs.csv").open("w", newline="") as stream:
        rows = csv.writer(stream)
        rows.writerow(("file", "radiograph"))
        rows.writerows((file, f"R{place // 2}") for place, file in enumerate(files))
    return folder


def make_small_network():
    """Return a network with every kind of state that a run must bring back."""
    from kop_core.networks import registry

    def build(input_shape, classes, batch_norm_momentum, dropout):
        import keras
        from keras import layers

        inputs = keras.Input(input_shape)
        x = layers.AveragePooling2D(8)(inputs)
        x = layers.Conv2D(8, 3, activation="relu", name="conv1")(x)
        x = layers.BatchNormalization(momentum=batch_norm_momentum, name="norm1")(x)
        x = layers.GlobalAveragePooling2D()(x)
        x = layers.Dense(16, activation="relu", name="dense1")(x)
        x = layers.Dropout(dropout)(x)
        outputs = layers.Dense(classes, activation="softmax", dtype="float32")(x)
        return keras.Model(inputs, outputs)

    return registry.Network(
        name="small",
        title="Small",
        builder=build,
        preparation="stretch224",
        explain_layer="conv1",
        backbone_layer="norm1",
        options={"batch_norm_momentum": 0.9, "dropout": 0.5},
        reference="none",
    )


@pytest.fixture
def small_network(monkeypatch):
    """Register the network ``small`` in this process."""
    from kop_core.networks import registry

    network = make_small_network()
    monkeypatch.setitem(registry._NETWORKS, "small", network)
    return network
