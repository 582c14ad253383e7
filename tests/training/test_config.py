import math

import pytest

from kop_core.datasets.feeding import Augmentation
from kop_core.devices import Gpu
from kop_core.errors import RunError
from kop_core.training import TrainingConfig, best_precision


def test_there_and_back():
    config = TrainingConfig(epochs=3, seed=9, augmentation=Augmentation(mirror=False))
    assert TrainingConfig.from_config(config.get_config()) == config
    plain = TrainingConfig(augmentation=None)
    assert TrainingConfig.from_config(plain.get_config()) == plain


@pytest.mark.parametrize(
    ("setting", "says"),
    [
        ({"epochs": 0}, "epochs must be at least 1"),
        ({"batch_size": 0}, "batch"),
        ({"seed": -1}, "seed"),
        ({"test_share": 1.0}, "between 0 and 1"),
        ({"learning_rate": 0.0}, "learning rate"),
        ({"optimizer": "lion"}, "Known: sgd, adam"),
        ({"schedule": "step"}, "Known: cosine"),
        ({"precision": "int8"}, "Known: auto"),
        ({"split": "by eye"}, "Known: radiograph, patient, random"),
        ({"conflicts": "hide"}, "Known: keep, drop, test"),
        ({"folds": 5}, "both its number"),
        ({"folds": 5, "fold": 0}, "between 1 and 5"),
        ({"warmup_epochs": -1}, "warm-up"),
        ({"warmup_epochs": 30}, "fewer than the run has"),
        ({"options": {"dropout": 1.5}}, "dropout of the network paper must be a number from 0"),
        ({"options": {"head": "pooled"}}, "paper has no option 'head'. Known: dropout"),
        ({"network": "vgg16", "options": {"head": "big"}}, "Known: pooled, original"),
        ({"augmentation": Augmentation(zoom="x")}, "zoom of the augmentation cannot be 'x'"),
        ({"augmentation": Augmentation(zoom=1.0)}, "zoom of the augmentation cannot be 1.0"),
        ({"augmentation": Augmentation(shift=math.nan)}, "shift of the augmentation"),
        ({"augmentation": Augmentation(rotation=-1)}, "rotation of the augmentation"),
        ({"augmentation": Augmentation(mirror="no")}, "mirror of the augmentation"),
        ({"network": "alexnet", "size": 32}, "alexnet takes pictures of 64 to 512"),
    ],
)
def test_what_is_out_of_range_is_named(setting, says):
    with pytest.raises(RunError, match=says):
        TrainingConfig(**setting)


def test_a_network_without_batch_normalisation_needs_no_momentum_of_it():
    assert TrainingConfig().options == {"batch_norm_momentum": 0.9}
    assert TrainingConfig(network="resnet18").options == {"batch_norm_momentum": 0.9}
    plain = TrainingConfig(network="vgg16")
    assert plain.options == {}
    assert TrainingConfig.from_config(plain.get_config()) == plain


def test_by_radiograph_is_the_default_and_old_records_are_random():
    assert TrainingConfig().split == "radiograph"
    of_first_kop = {"network": "paper", "epochs": 2, "augmentation": None}
    config = TrainingConfig.from_config(of_first_kop)
    assert (config.split, config.conflicts, config.folds) == ("random", "keep", None)
    assert config.warmup_epochs == 0


def test_unknown_settings_are_named():
    with pytest.raises(RunError, match="colour"):
        TrainingConfig.from_config({"colour": 1})
    with pytest.raises(RunError, match="cannot be read"):
        TrainingConfig.from_config({"augmentation": {"spin": 1}})


def test_precision_follows_the_processor(tmp_path):
    info = tmp_path / "cpuinfo"
    info.write_text("processor : 0\nflags\t\t: fpu avx512_bf16 sse\n")
    assert best_precision(cpuinfo=info) == "mixed_bfloat16"
    info.write_text("processor : 0\nflags\t\t: fpu avx2\n")
    assert best_precision(cpuinfo=info) == "float32"
    assert best_precision(cpuinfo=tmp_path / "none") == "float32"
    # A graphics card counts for itself, whatever the processor has.
    assert best_precision(Gpu("new", True), tmp_path / "none") == "mixed_bfloat16"
    assert best_precision(Gpu("old", False), info) == "float32"
