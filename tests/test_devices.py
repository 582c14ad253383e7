"""What computes for Keras, with libraries that only say that they have a card."""

from __future__ import annotations

import sys
from types import SimpleNamespace

import pytest

from kop_core import devices
from kop_core.devices import Gpu
from kop_core.training import versions


def jax_with(platform: str, capability: str) -> SimpleNamespace:
    card = SimpleNamespace(
        platform=platform, device_kind="NVIDIA H200", compute_capability=capability
    )
    return SimpleNamespace(devices=lambda: [card])


def torch_with(capability: tuple[int, int]) -> SimpleNamespace:
    cuda = SimpleNamespace(
        get_device_name=lambda _: "NVIDIA T4",
        get_device_capability=lambda _: capability,
    )
    return SimpleNamespace(cuda=cuda)


def tensorflow_with(*cards: dict) -> SimpleNamespace:
    details = SimpleNamespace(get_device_details=lambda card: card)
    config = SimpleNamespace(list_physical_devices=lambda _: list(cards), experimental=details)
    return SimpleNamespace(config=config)


A100 = {"device_name": "NVIDIA A100", "compute_capability": (8, 0)}


@pytest.mark.parametrize(
    ("backend", "library", "found"),
    [
        ("jax", jax_with("gpu", "9.0"), Gpu("NVIDIA H200", True)),
        ("jax", jax_with("gpu", "gfx90a"), Gpu("NVIDIA H200", False)),
        ("jax", jax_with("cpu", ""), None),
        ("tensorflow", tensorflow_with(A100), Gpu("NVIDIA A100", True)),
        ("tensorflow", tensorflow_with({}), Gpu("GPU", False)),
        ("tensorflow", tensorflow_with(), None),
    ],
)
def test_the_card_is_named_with_what_it_can(backend, library, found, monkeypatch):
    monkeypatch.setitem(sys.modules, backend, library)
    monkeypatch.setattr(devices, "backend", lambda: backend)
    assert devices.first_gpu() == found
    noted = versions.at_work()
    assert noted["backend"] == backend and noted.get("gpu") == (found and found.name)


@pytest.mark.parametrize(
    ("device", "found"),
    [("cuda", Gpu("NVIDIA T4", False)), ("mps", Gpu("MPS", False)), ("cpu", None)],
)
def test_of_pytorch_it_is_the_one_that_keras_takes(device, found, monkeypatch):
    core = SimpleNamespace(get_device=lambda: device)
    monkeypatch.setitem(sys.modules, "torch", torch_with((7, 5)))
    monkeypatch.setitem(sys.modules, "keras.src.backend.torch", SimpleNamespace(core=core))
    monkeypatch.setitem(sys.modules, "keras.src.backend.torch.core", core)
    monkeypatch.setattr(devices, "backend", lambda: "torch")
    assert devices.first_gpu() == found


def test_the_backend_here_is_named():
    assert versions.at_work()["backend"] == "tensorflow"
    assert versions.versions().items() <= versions.at_work().items()
