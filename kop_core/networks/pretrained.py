"""Weights that were trained elsewhere: on ImageNet, on knees, or by anyone.

A file of weights is an ``.npz`` with one array a weight, named ``layer/weight``, in
Keras's layout, of half or single precision. It holds the backbone, which is everything up
to :attr:`Network.backbone_layer`; the head that follows is always trained anew. Such a
file may come from anybody: it is looked at before anything is read, and nothing in it runs.
"""

from __future__ import annotations

import math
import zipfile
from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np

from kop_core.datasets.archives import ArchiveLimits, open_archive, unsafe_kind
from kop_core.errors import WeightsError
from kop_core.networks import parts
from kop_core.networks.registry import get, split

if TYPE_CHECKING:
    import keras

# Weights that have a name: trained on photographs, or with `pretrain` on graded knees.
IMAGENET, KNEES = "imagenet", "knees"
NAMES = (IMAGENET, KNEES)
SHIPPED = Path(__file__).resolve().parents[2] / "assets" / "weights"
MAX_BYTES = 512 * 2**20
_LIMITS = ArchiveLimits(max_members=4_000, max_directory=2**20)
_MAX_HEADER = 4_096
_DTYPES = (np.dtype("<f2"), np.dtype("<f4"))
# What keras.applications calls the networks whose weights it has, and we can take.
_APPLICATIONS = {
    "vgg16": "VGG16",
    "vgg19": "VGG19",
    "resnet50": "ResNet50",
    "mobilenet_v2": "MobileNetV2",
    "densenet121": "DenseNet121",
    "efficientnet_v2_b0": "EfficientNetV2B0",
    "convnext_tiny": "ConvNeXtTiny",
}
# Of these the first convolution wants pictures as Caffe had them: blue, green, red, from 0
# to 255, less the means of each.
_CAFFE = {"vgg16": "block1_conv1", "vgg19": "block1_conv1", "resnet50": "conv1_conv"}
_CAFFE_MEAN = (123.68, 116.779, 103.939)
# A weight, by name and shape, that only one network has; VGG-19 has VGG-16's too.
_SIGNS = (
    ("paper", "conv9/kernel", (3, 3, 512, 512)),
    ("alexnet", "conv1/kernel", (11, 11, 3, 64)),
    ("googlenet", "inception_5b_5x5/kernel", (5, 5, 48, 128)),
    ("vgg19", "block5_conv4/kernel", (3, 3, 512, 512)),
    ("vgg16", "block5_conv3/kernel", (3, 3, 512, 512)),
    ("resnet18", "conv5_block2_2_conv/kernel", (3, 3, 512, 512)),
    ("resnet50", "conv5_block3_3_conv/kernel", (1, 1, 512, 2048)),
    ("mobilenet_v2, variant torchvision", "f17_project/kernel", (1, 1, 960, 320)),
    ("mobilenet_v2, variant keras", "block_16_project/kernel", (1, 1, 960, 320)),
    ("densenet121", "conv5_block16_2_conv/kernel", (3, 3, 128, 32)),
    ("efficientnet_lite0", "b15_project/kernel", (1, 1, 1152, 320)),
    ("efficientnet_v2_b0", "top_conv/kernel", (1, 1, 192, 1280)),
    ("convnext_tiny", "stage3_block2_project/kernel", (3072, 768)),
)


def where_from(network_name: str) -> str | None:
    """Return where a network's ImageNet weights come from.

    Returns:
        ``"shipped"`` with KOP, ``"download"`` by ``keras.applications`` where there is
        internet, ``"file"`` if only a file can bring them, ``None`` if nothing can.

    Raises:
        UnknownNetwork: if there is no network of that name.
    """
    if get(network_name).weights != IMAGENET:
        return None
    if _shipped(network_name, IMAGENET).is_file():
        return "shipped"
    return "download" if network_name in _APPLICATIONS else "file"


def named(network_name: str) -> tuple[str, ...]:
    """Return the names of weights that a network can begin with.

    Raises:
        UnknownNetwork: if there is no network of that name.
    """
    photographs = (IMAGENET,) if get(network_name).weights == IMAGENET else ()
    return (*photographs, KNEES) if _shipped(network_name, KNEES).is_file() else photographs


def file_of(network_name: str, source: str | Path) -> Path | None:
    """Return the file that weights to begin with are read from.

    Args:
        network_name: of a network.
        source: one of :func:`named`, or the path of an ``.npz``.

    Returns:
        The path, which may not be there; ``None`` for weights that ``keras.applications``
        keeps where it likes.
    """
    if source not in NAMES:
        return Path(source)
    shipped = _shipped(network_name, source)
    return shipped if source == KNEES or shipped.is_file() else None


def _shipped(network_name: str, source: str | Path) -> Path:
    return (SHIPPED / KNEES if source == KNEES else SHIPPED) / f"{network_name}.npz"


def require(network_name: str, source: str | Path) -> None:
    """See that there are weights of that name for a network; a file is not looked at.

    Raises:
        UnknownNetwork: if there is no network of that name.
        WeightsError: if there are none.
    """
    if source in NAMES and source not in named(network_name):
        raise WeightsError(_none(network_name, source))


def load(model: keras.Model, network_name: str, source: str | Path) -> int:
    """Give a network's backbone weights that were trained elsewhere; leave its head alone.

    Args:
        model: the network, as :func:`kop_core.networks.build` built it.
        network_name: its registered name.
        source: one of :func:`named`, or the path of an ``.npz``.

    Returns:
        How many weights were set.

    Raises:
        UnknownNetwork: if there is no network of that name.
        WeightsError: if there are no such weights here, or they are those of another network.
    """
    require(network_name, source)
    file = file_of(network_name, source)
    if file is not None:
        said = file.name if source in NAMES else str(source)
        return apply_weights(model, read_weights(file), network_name, said)
    if where_from(network_name) == "download":
        weights = _of_application(model, network_name)
        return apply_weights(model, weights, network_name, "keras.applications")
    raise WeightsError(_none(network_name, source))


def _none(network_name: str, source: str | Path) -> str:
    if source == KNEES:
        having = sorted(path.stem for path in (SHIPPED / KNEES).glob("*.npz"))
        there = f" KOP has one of {', '.join(having)}." if having else ""
        return (
            f"KOP has no encoder of the network {network_name} that was trained on knees.{there} "
            "Begin with other weights, or train one: python -m kop_core pretrain."
        )
    return (
        f"No ImageNet weights of the network {network_name} ship with KOP or can be downloaded. "
        "Name a file (.npz) that has them."
    )


def _of_application(model: keras.Model, name: str) -> dict[str, np.ndarray]:
    """Return the weights that ``keras.applications`` has, under our names.

    Both have the same layers in the same order; a network that is nested there is flat here.
    """
    backbone, _ = split(model, name)
    ours = [layer for layer in backbone.layers if layer.weights]
    if name == "mobilenet_v2" and ours[0].name != "Conv1":
        raise WeightsError(
            "keras.applications has ImageNet weights for its own variant of mobilenet_v2 only. "
            "Set the network's option variant to keras, or name a file (.npz) with torchvision's."
        )
    theirs = [layer for layer in _flat(_download(name)) if layer.weights]
    weights = {
        f"{layer.name}/{variable.name}": _laid_out(np.asarray(value), tuple(variable.shape))
        for layer, other in zip(ours, theirs)
        for variable, value in zip(layer.weights, other.weights)
    }
    return _from_caffe(weights, _CAFFE[name]) if name in _CAFFE else weights


def _download(name: str) -> keras.Model:
    import keras

    # Weights do not depend on the side of the input; MobileNetV2 warns of unusual ones.
    try:
        make = getattr(keras.applications, _APPLICATIONS[name])
        return make(include_top=False, weights=IMAGENET, input_shape=(224, 224, 3))
    except Exception as error:  # Keras raises a bare Exception if there is no internet
        raise WeightsError(
            f"The ImageNet weights of the network {name} could not be downloaded from "
            "keras.applications. Connect this machine to the internet, or name a file (.npz) "
            "that has them."
        ) from error


def _flat(model: keras.Model) -> Iterator[keras.Layer]:
    for layer in model.layers:
        if hasattr(layer, "layers"):
            yield from _flat(layer)
        else:
            yield layer


def _laid_out(value: np.ndarray, shape: tuple[int, ...]) -> np.ndarray:
    """Return a kernel as wanted: one that is grouped there is depthwise here."""
    if value.ndim == 4 and value.shape != shape and value.swapaxes(2, 3).shape == shape:
        return value.swapaxes(2, 3)
    return value


def _from_caffe(weights: dict[str, np.ndarray], layer: str) -> dict[str, np.ndarray]:
    """Make a first convolution that wants Caffe's pictures take standardised ones.

    Both are the same picture but for the order of the colours, a factor and an offset for
    each of them, which the kernel and the bias take up. Only where zeros are padded is
    there a difference, of at most half a grey value of 255: Caffe's means are not quite
    torchvision's.
    """
    kernel = weights[f"{layer}/kernel"][:, :, ::-1].astype(np.float64)
    mean, std = 255 * np.array(parts.IMAGENET_MEAN), 255 * np.array(parts.IMAGENET_STD)
    offset = np.einsum("hwio,i->o", kernel, mean - np.array(_CAFFE_MEAN))
    return {
        **weights,
        f"{layer}/kernel": (kernel * std[:, np.newaxis]).astype(np.float32),
        f"{layer}/bias": (weights[f"{layer}/bias"] + offset).astype(np.float32),
    }


def read_weights(path: str | Path) -> dict[str, np.ndarray]:
    """Read a file of weights.

    Args:
        path: an ``.npz`` of at most :data:`MAX_BYTES`, unpacked too.

    Returns:
        Arrays of float16 or float32 by ``layer/weight``.

    Raises:
        WeightsError: naming the file, and what of it is not as it must be.
    """
    path = Path(path)
    if path.suffix.lower() != ".npz":
        raise WeightsError(
            f"{path.name} is no file of weights that KOP reads: they end in .npz, with one array "
            "a weight. A model.keras or .weights.h5 is not read here."
        )
    try:
        if path.stat().st_size > MAX_BYTES:
            raise WeightsError(f"{path.name} is larger than {MAX_BYTES // 2**20} MB.")
        with path.open("rb") as stream, open_archive(stream, _LIMITS) as archive:
            return _read_members(archive)
    except FileNotFoundError:
        raise WeightsError(f"There is no file {path}. Choose another, or put it there.") from None
    except WeightsError:
        raise
    except _Fault as fault:
        raise WeightsError(f"{path.name} cannot be read as weights: {fault}.") from None
    except OSError as error:
        raise WeightsError(f"{path} cannot be opened ({error.strerror}).") from error
    except Exception as error:  # hostile bytes make zipfile, zlib and NumPy raise anything at all
        raise WeightsError(
            f"{path.name} is damaged, or no .npz file. Get it again from where it came."
        ) from error


class _Fault(Exception):
    """What is wrong with a file of weights, as part of a sentence."""


def _read_members(archive: zipfile.ZipFile) -> dict[str, np.ndarray]:
    members = archive.infolist()
    if len(members) > _LIMITS.max_members:
        raise _Fault(f"it holds more than {_LIMITS.max_members:,} arrays")
    if sum(m.file_size for m in members) > MAX_BYTES:
        raise _Fault(f"it becomes larger than {MAX_BYTES // 2**20} MB when it is unpacked")
    weights = {}
    for member in members:
        key = member.filename.removesuffix(".npy")
        layer, _, weight = key.partition("/")
        if unsafe_kind(member) or not (layer and weight) or "/" in weight or key in weights:
            raise _Fault(f"it holds {member.filename[:80]!r}, which names no layer and weight")
        weights[key] = _read_array(archive, member)
    if not weights:
        raise _Fault("it holds no array")
    return weights


def _read_array(archive: zipfile.ZipFile, member: zipfile.ZipInfo) -> np.ndarray:
    """Read one array, once its head says that it is as large as its member and no larger."""
    name = member.filename[:80]
    with archive.open(member) as stream:
        try:
            version = np.lib.format.read_magic(stream)
            if version != (1, 0):
                raise _Fault(f"its array {name!r} is of a kind that is not read here")
            shape, _, dtype = np.lib.format.read_array_header_1_0(stream, _MAX_HEADER)
        except _Fault:
            raise
        except Exception:  # a header is Python's own notation: parsing it can fail in many ways
            raise _Fault(f"{name!r} is no array of numbers") from None
        if dtype not in _DTYPES:
            raise _Fault(f"its array {name!r} is of {dtype}, not of float16 or float32")
        if math.prod(shape) * dtype.itemsize != member.file_size - stream.tell():
            raise _Fault(f"its array {name!r} is not as large as it says")
    with archive.open(member) as stream:
        array = np.lib.format.read_array(stream, allow_pickle=False, max_header_size=_MAX_HEADER)
    if not np.isfinite(array).all():
        raise _Fault(f"its array {name!r} holds values that are no numbers")
    return array


def apply_weights(
    model: keras.Model,
    weights: dict[str, np.ndarray],
    name: str,
    file: str = "The file",
) -> int:
    """Set every weight of a network's backbone by name; leave its head alone.

    Nothing is set unless all fit.

    Args:
        model: the network.
        weights: arrays by ``layer/weight``, as :func:`read_weights` gives them.
        name: the network's registered name.
        file: what an error calls the place that they came from.

    Returns:
        How many weights were set.

    Raises:
        WeightsError: naming the first weight that is missing, of another shape or not the
            backbone's, and the network that the weights seem to be of.
    """
    backbone, head = split(model, name)
    wanted = dict(_weights_of(backbone))
    for key, variable in wanted.items():
        found = weights.get(key)
        shape = tuple(variable.shape)
        if found is None:
            raise WeightsError(_mismatch(file, name, f"it has no {key}", weights))
        if found.shape != shape:
            problem = f"its {key} has the shape {found.shape}, not {shape}"
            raise WeightsError(_mismatch(file, name, problem, weights))
    heads = {layer.name for layer in head.layers}
    more = [key for key in weights if key not in wanted and key.split("/")[0] not in heads]
    if more:
        problem = f"it has {more[0]!r}, which that network does not have"
        raise WeightsError(_mismatch(file, name, problem, weights))
    for key, variable in wanted.items():
        variable.assign(weights[key])
    return len(wanted)


def _mismatch(file: str, name: str, problem: str, weights: dict[str, np.ndarray]) -> str:
    seems = [
        known
        for known, key, shape in _SIGNS
        if known != name and key in weights and weights[key].shape == shape
    ]
    hint = f" It seems to be of the network {seems[0]}." if seems else ""
    return f"{file} does not fit the network {name}: {problem}.{hint}"


def _weights_of(backbone: keras.Model) -> Iterator[tuple[str, keras.Variable]]:
    for layer in backbone.layers:
        for variable in layer.weights:
            yield f"{layer.name}/{variable.name}", variable


def save(model: keras.Model, name: str, path: str | Path) -> None:
    """Write a network's backbone, for others to start from, as :func:`read_weights` reads it.

    Args:
        model: the network.
        name: its registered name.
        path: the file, ending in ``.npz``; in half precision.

    Raises:
        WeightsError: if a weight is too large for half precision, or the file cannot be
            written.
    """
    path = Path(path)
    if path.suffix.lower() != ".npz":
        raise WeightsError(f"{path.name} must end in .npz.")
    backbone, _ = split(model, name)
    with np.errstate(over="ignore"):
        arrays = {
            key: np.asarray(variable).astype(np.float16) for key, variable in _weights_of(backbone)
        }
    large = [key for key, array in arrays.items() if not np.isfinite(array).all()]
    if large:
        raise WeightsError(f"{large[0]} is too large for half precision. Nothing was written.")
    draft = path.with_name(f".{path.name}.part")
    try:
        with draft.open("wb") as stream:
            np.savez(stream, **arrays)
        draft.replace(path)
    except OSError as error:
        draft.unlink(missing_ok=True)
        raise WeightsError(f"{path} could not be written ({error.strerror}).") from error
