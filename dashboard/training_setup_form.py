"""The settings of a run as widgets: drawn, filled in at once, and read back."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import asdict
from typing import Any

import streamlit as st

from kop_core import marks, networks
from kop_core.datasets.feeding import Augmentation
from kop_core.errors import RunError
from kop_core.networks import pretrained
from kop_core.networks.pretrained import IMAGENET, KNEES
from kop_core.training import setting_up
from kop_core.training.config import (
    BACKBONE,
    CLASS_WEIGHTS,
    OPTIMIZERS,
    SCHEDULES,
    TrainingConfig,
)

_KEY = "setup_"
_SHARES = ("test_share", "validation_share")
_PLAIN = (
    "network", "epochs", "seed", "batch_size", "optimizer", "momentum", "schedule", "precision",
    "split", "conflicts", "view", "warmup_epochs", "class_weights", "keep", "weight_decay",
    "replicas",
)  # fmt: skip
_ALTERED_SHARES = ("shift", "zoom", "brightness", "contrast")
_PATIENCE = 10
SPLITS = {
    "radiograph": (
        "By radiograph",
        "Copies and crops of one radiograph stay on one side. What is measured holds for "
        "radiographs that the network has never seen.",
    ),
    "patient": (
        "By patient",
        "All radiographs of a patient stay on one side too: nearest to a new patient.",
    ),
    "random": (
        "Random, file by file",
        "As in the paper. Copies of one radiograph fall on both sides.",
    ),
}
_CONFLICTS = {"keep": "Keep", "drop": "Leave out", "test": "In the test part only"}
_OPTIMIZERS = {"sgd": "SGD", "adam": "Adam", "adamw": "AdamW", "rmsprop": "RMSprop"}
_SCHEDULES = {
    "cosine": "Falls smoothly to zero",
    "steps": "Falls in two steps",
    "constant": "Stays the same",
}
_CLASS_WEIGHTS = {"none": "Each file counts the same", "balanced": "Each class counts the same"}
_PRECISIONS = {
    "auto": "What this machine does fastest",
    "float32": "32 bit",
    "mixed_bfloat16": "16 bit (bfloat16), weights in 32",
}
_VIEWS = {"whole": "The whole picture", "joints": "The joints"}
_STARTS = {
    "fresh": "Fresh weights",
    IMAGENET: "Weights learned on ImageNet",
    KNEES: "Weights learned on knees",
    "file": "Weights in a file",
}
_LEARNS = {"all": "All of it", "head": "Its head only", "layer": "From a layer on"}
_KEEP = {"best": "Of the best epoch", "last": "Of the last epoch"}
# Options of networks that are words: how they are called, and what may be chosen.
_WORDS = {"head": "Head", "variant": "Variant"}
_WORDS_MEAN = {
    "pooled": "Features averaged over the picture",
    "original": "As published: too large a model to publish",
    "torchvision": "torchvision's",
    "keras": "Keras's",
}
_WORDS_HELP = {
    "head": "What follows the convolutions. The published one has two dense layers of 4,096 "
    "units, which hold most of the network's parameters.",
    "variant": "Two implementations are in use, and weights that were trained elsewhere fit one "
    "of them.",
}


def key(name: str) -> str:
    """Return the name under which the session keeps a setting."""
    return _KEY + name


def fill(config: TrainingConfig) -> None:
    """Set every widget to what a run's settings say."""
    state = st.session_state
    values = config.get_config()
    for name in _PLAIN:
        state[key(name)] = values[name]
    for name in ("momentum", "warmup_epochs", "weight_decay"):
        state[key(name)] = float(values[name])
    for name in _SHARES:
        state[key(name)] = round(100 * values[name], 4)
    network = networks.get(config.network)
    state[key("size")] = config.size or network.input.height
    state[key("learning_rate")] = f"{config.learning_rate:g}"
    state[key("folds")], state[key("fold")] = config.folds or 0, config.fold or 1
    state[key("leave_out")] = [k for k in marks.KINDS if k in config.leave_out.values()]
    state[key("stops")] = config.patience is not None
    state[key("patience")] = config.patience or _PATIENCE
    # Options that have no widget are handed on as they are.
    state[key("options")] = {**network.options, **config.options}
    for name, value in state[key("options")].items():
        state[key(name)] = type(network.options[name])(value)
    _fill_beginning(config)
    altered = config.augmentation or Augmentation()
    state[key("augment")] = config.augmentation is not None
    for name, value in asdict(altered).items():
        state[key(name)] = round(100 * value, 4) if name in _ALTERED_SHARES else value


def _fill_beginning(config: TrainingConfig) -> None:
    state, given = st.session_state, config.pretrained
    in_file = given is not None and given not in _STARTS
    state[key("start")] = "file" if in_file else given or "fresh"
    state[key("weights_file")] = given if in_file else ""
    whole = {None: "all", BACKBONE: "head"}
    state[key("learns")] = whole.get(config.freeze, "layer")
    state[key("layer")] = config.freeze if config.freeze not in whole else ""
    state[key("head_epochs")] = config.head_epochs
    state[key("backbone_rate")] = float(config.backbone_rate)


def fill_once() -> None:
    """Set the widgets to KOP's recommendation, unless they are set to something."""
    if key("network") not in st.session_state or key("options") not in st.session_state:
        fill(setting_up.RECOMMENDED)


def read() -> TrainingConfig:
    """Return the settings that the widgets show.

    Raises:
        RunError: if one of them is out of range, in a sentence for the person.
    """
    state = st.session_state
    values: dict[str, Any] = {name: state[key(name)] for name in _PLAIN}
    values |= {name: state[key(name)] / 100 for name in _SHARES}
    network = networks.get(values["network"])
    size = int(state[key("size")])
    values["size"] = None if size == network.input.height else size
    values["learning_rate"] = number("learning rate", state[key("learning_rate")])
    folds = int(state[key("folds")])
    values["folds"], values["fold"] = (folds, int(state[key("fold")])) if folds else (None, None)
    if not values["validation_share"]:
        values["keep"], values["patience"] = "last", None
    else:
        values["patience"] = int(state[key("patience")]) if state[key("stops")] else None
    if values["optimizer"] != "sgd":
        values["momentum"] = TrainingConfig().momentum
    values["options"] = _options(network)
    values |= _beginning()
    values["augmentation"] = None if values.get("freeze") == BACKBONE else _augmentation()
    return TrainingConfig(**values)


def _options(network: networks.Network) -> dict[str, Any]:
    chosen = {**network.options, **st.session_state[key("options")]}
    shown = {name: st.session_state.get(key(name), chosen[name]) for name in network.options}
    return {k: type(network.options[k])(v) for k, v in shown.items()}


def _beginning() -> dict[str, Any]:
    """Return what the network begins with and what of it learns."""
    state = st.session_state
    start, learns = state[key("start")], state[key("learns")]
    if start == "fresh":
        return {}
    given = state[key("weights_file")].strip() if start == "file" else start
    if not given:
        raise RunError("Name the file of weights to begin with, or begin with fresh ones.")
    layer = state[key("layer")].strip()
    if learns == "layer" and not layer:
        raise RunError("Name the layer from which on the network is to learn.")
    freeze = {"all": None, "head": BACKBONE}.get(learns, layer)
    values = {"pretrained": given, "freeze": freeze}
    if learns != "head":
        values["head_epochs"] = int(state[key("head_epochs")])
        values["backbone_rate"] = float(state[key("backbone_rate")])
    return values


def _augmentation() -> Augmentation | None:
    state = st.session_state
    if not state[key("augment")]:
        return None
    values = {name: state[key(name)] for name in asdict(Augmentation())}
    values |= {name: state[key(name)] / 100 for name in _ALTERED_SHARES}
    return Augmentation(**values)


def number(what: str, text: str) -> float:
    """Return the number that a person typed, with a point or a comma.

    Raises:
        RunError: if it is none.
    """
    try:
        return float(str(text).strip().replace(",", "."))
    except ValueError:
        raise RunError(
            f"The {what} must be a number such as 0.0003 or 3e-4, and is “{text}”."
        ) from None


# The widgets, section by section.


def _keep(name: str) -> dict[str, Any]:
    """Return what makes a widget keep its value while its person is elsewhere."""
    return {"key": key(name), "persist_state": "session"}


def _choose(label: str, name: str, known: dict[str, str], **more: Any) -> None:
    st.selectbox(label, list(known), format_func=known.__getitem__, **_keep(name), **more)


def split(by_patient: bool, conflicts: bool) -> None:
    """Draw how the data is divided.

    Args:
        by_patient: whether the data set says of every file whose it is.
        conflicts: whether radiographs are filed under several classes.
    """
    offered = [name for name in SPLITS if name != "patient" or by_patient]
    if st.session_state[key("split")] not in offered:
        st.session_state[key("split")] = "radiograph"
    st.radio(
        "What stays together",
        offered,
        format_func=lambda name: SPLITS[name][0],
        captions=[SPLITS[name][1] for name in offered],
        **_keep("split"),
    )
    if not by_patient:
        st.caption(
            "Not offered: by patient. The data set does not say of every file whose it is; a "
            "patients.csv with the columns file and patient does."
        )
    folded = bool(st.session_state[key("folds")])
    test, validation, seed, disputed = st.columns(4, vertical_alignment="bottom")
    with test:
        _number(
            "Test part, %", "test_share", 0.0, 5.0, 100.0, disabled=folded,
            help="Share of the files that is kept from training and measured on at the end. "
            "20 % is usual.",
        )  # fmt: skip
    with validation:
        _number(
            "Validation part, %", "validation_share", 0.0, 5.0, 100.0,
            help="Share of the training part that is set aside to watch the training, and to "
            "choose the epoch by. With 0 the test part is watched after every epoch, as in the "
            "paper, and nothing may be chosen by it.",
        )  # fmt: skip
    with seed:
        _number(
            "Seed", "seed", 0, 1,
            help="Decides which files are in which part, the first weights and the order of the "
            "pictures. The same seed gives the same run; another one shows how much chance "
            "there is in a result.",
        )  # fmt: skip
    with disputed:
        if conflicts:
            _choose(
                "Conflicted radiographs", "conflicts", _CONFLICTS,
                help="Radiographs filed under more than one class. Kept, they teach and measure "
                "labels of which some must be wrong. In the test part only, nothing wrong is "
                "learned from them.",
            )  # fmt: skip
        elif st.session_state[key("conflicts")] != "keep":
            st.session_state[key("conflicts")] = "keep"


def marked(found: Mapping[str, str]) -> dict[str, str]:
    """Draw the choice to leave marked files out, if there are any; return those left out.

    Args:
        found: kind of mark by file.
    """
    counts = {kind: list(found.values()).count(kind) for kind in marks.KINDS}
    offered = [kind for kind in marks.KINDS if counts[kind]]
    state = st.session_state
    state[key("leave_out")] = [k for k in state.get(key("leave_out")) or [] if k in offered]
    if not offered:
        return {}
    wanted = st.pills(
        "Leave out what a reader marked",
        offered,
        selection_mode="multi",
        format_func=lambda kind: f"{kind.capitalize()} ({_files(counts[kind])})",
        help="Files that were marked on the Confusion page, with their identical copies, are put "
        "in no part: nothing is learned from them, and nothing measured. The card says so.",
        **_keep("leave_out"),
    )
    return {file: kind for file, kind in found.items() if kind in wanted}


def _files(count: int) -> str:
    return "1 file" if count == 1 else f"{count:,} files"


def folds() -> None:
    """Draw cross-validation, which few need."""
    many, which = st.columns(2)
    with many:
        _number(
            "Folds", "folds", 0, 1, 20,
            help="Cuts the data into so many parts, of which each can be the test part in turn. "
            "0 makes one cut by the share of the test part.",
        )  # fmt: skip
    with which:
        _number(
            "Test on fold", "fold", 1, 1, 20, disabled=not st.session_state[key("folds")],
            help="Which of the folds this run is measured on. A whole cross-validation needs a "
            "run for each.",
        )  # fmt: skip


def network() -> None:
    """Draw the choice of a network and what it is built with."""
    titles = {name: networks.get(name).title for name in networks.names()}
    if st.session_state[key("network")] not in titles:
        st.session_state[key("network")] = next(iter(titles))
    which, view, side, dropout = st.columns([2, 1.35, 1, 1.05], vertical_alignment="bottom")
    with which:
        _choose("Network", "network", titles, on_change=_another_network)
    chosen = networks.get(st.session_state[key("network")])
    with view:
        _choose(
            "Is shown", "view", _VIEWS,
            help="The joints: KOP finds the knee joints in a front view and shows the network "
            "both, side by side. They are seen larger so, and nothing else is seen: no second "
            "knee, no side markers.",
        )  # fmt: skip
    with side:
        _number(
            "Input size, pixels", "size", 0, 32,
            help=f"Side of the square that pictures are scaled to. This network's own is "
            f"{chosen.input.height}; larger ones show more and take longer, by the square.",
        )  # fmt: skip
    with dropout:
        if "dropout" in chosen.options:
            _slide(
                "Dropout", "dropout", 0.9, 0.05, "%.2f",
                help="Share of the units of the dense layers that are left out at random in each "
                "step. More of it keeps the network from learning pictures by heart.",
            )  # fmt: skip
    _options_of_its_own(chosen)


def _options_of_its_own(chosen: networks.Network) -> None:
    """Draw what only some networks have."""
    depth = "stochastic_depth" in chosen.options
    columns = iter(st.columns([2, 2.4]) if depth or chosen.choices else ())
    for name, known in chosen.choices.items():
        if st.session_state.get(key(name)) not in known:
            st.session_state[key(name)] = chosen.options[name]
        with next(columns):
            _choose(
                _WORDS.get(name, name), name, {word: _WORDS_MEAN.get(word, word) for word in known},
                help=_WORDS_HELP.get(name),
            )  # fmt: skip
    if depth:
        with next(columns):
            _slide(
                "Stochastic depth", "stochastic_depth", 0.9, 0.05, "%.2f",
                help="How often the last block of layers is left out for a picture in training; "
                "earlier blocks more seldom.",
            )  # fmt: skip


def beginning() -> None:
    """Draw what the network begins with and what of it learns."""
    chosen = networks.get(st.session_state[key("network")])
    there = ("fresh", *pretrained.named(chosen.name), "file")
    offered = {start: _STARTS[start] for start in there}
    if st.session_state[key("start")] not in offered:
        st.session_state[key("start")] = "fresh"
    start, what, first, rate = st.columns([1.5, 1.2, 1, 1], vertical_alignment="bottom")
    with start:
        _choose(
            "Begins with", "start", offered,
            help="A network that has seen many pictures needs fewer of these. ImageNet holds a "
            "million photographs; the knees are radiographs graded for osteoarthritis. Weights of "
            "EfficientNet-Lite0 come with KOP; those of other networks are fetched from the "
            "internet once, or taken from a file.",
        )  # fmt: skip
    begun = st.session_state[key("start")]
    if begun == "fresh":
        with what:
            st.caption("All of the network learns.")
        return
    with what:
        _choose(
            "What learns", "learns", _LEARNS,
            help="The head alone learns in seconds: what the rest says of each picture is "
            "computed once. From a layer on: what comes before it stays as it is.",
        )  # fmt: skip
    learns = st.session_state[key("learns")]
    if learns != "head":
        with first:
            _number(
                "Head first, epochs", "head_epochs", 0, 1,
                help="So many epochs train the head only, before the rest learns too. A fresh "
                "head would else spoil what the network knows.",
            )  # fmt: skip
        with rate:
            _number(
                "Rate of the backbone", "backbone_rate", 0.001, 0.1, 1.0,
                help="Factor of the learning rate for everything but the head. Below 1 the "
                "network keeps more of what it knows.",
            )  # fmt: skip
    if begun == "file":
        st.text_input(
            "File of weights (.npz) on this machine", **_keep("weights_file"),
            help="As kop_core pretrain writes it: encoder.npz.",
        )  # fmt: skip
    if learns == "layer":
        st.text_input(
            "Layer", **_keep("layer"), placeholder=chosen.explain_layer,
            help="Its name: python -m kop_core networks --layers NAME lists those of a network.",
        )  # fmt: skip


def _another_network() -> None:
    """Set what belongs to a network to what the one just chosen has."""
    chosen = networks.get(st.session_state[key("network")])
    st.session_state[key("size")] = chosen.input.height
    st.session_state[key("options")] = dict(chosen.options)
    for name, value in chosen.options.items():
        st.session_state[key(name)] = value


def learning() -> None:
    """Draw batch, optimiser, learning rate and class weights."""
    first, second, third, fourth, fifth = st.columns([0.72, 0.82, 0.8, 1.43, 1.63])
    with first:
        _number(
            "Batch", "batch_size", 0, 1,
            help="Pictures that the network sees before it takes a step. 8 to 32 is usual; more "
            "needs more memory.",
        )  # fmt: skip
    with second:
        _choose(
            "Optimiser", "optimizer", {name: _OPTIMIZERS.get(name, name) for name in OPTIMIZERS},
            help="The rule by which the weights follow the error. Adam finds its way quickly; "
            "SGD is slower and needs a higher learning rate, about 0.001 to 0.01.",
        )  # fmt: skip
    with third:
        st.text_input(
            "Learning rate",
            **_keep("learning_rate"),
            help="How far a step goes. Too high, and the loss jumps or stops being a number; too "
            "low, and nothing is learned. For Adam 0.0001 to 0.001 is usual.",
        )
    with fourth:
        _choose(
            "Schedule", "schedule", {name: _SCHEDULES.get(name, name) for name in SCHEDULES},
            help="What becomes of the learning rate. Two steps: to a tenth after half of the "
            "epochs, to a hundredth after three quarters.",
        )  # fmt: skip
    with fifth:
        _choose(
            "Class weights", "class_weights",
            {name: _CLASS_WEIGHTS.get(name, name) for name in CLASS_WEIGHTS},
            help="Where one class has many more files than another, weights keep the network "
            "from calling everything the largest class.",
        )  # fmt: skip


def more() -> None:
    """Draw what few need to alter."""
    options = networks.get(st.session_state[key("network")]).options
    first, second, third = st.columns(3)
    with first:
        _number(
            "Warm-up, epochs", "warmup_epochs", 0.0, 0.5,
            help="The learning rate rises evenly from zero over so many epochs.",
        )  # fmt: skip
        _choose(
            "Arithmetic", "precision", _PRECISIONS,
            help="16 bit is two to three times as quick where the processor has it. Weights and "
            "probabilities stay in 32 bit.",
        )  # fmt: skip
    with second:
        _number(
            "Weight decay", "weight_decay", 0.0, 0.001, form="%g",
            help="Draws weights towards zero in each step. 0 is none.",
        )  # fmt: skip
        _number(
            "Processors that share a batch", "replicas", 1, 1, 64,
            help="For machines with several GPUs. The batch must be a multiple of it.",
        )  # fmt: skip
    with third:
        _number(
            "Momentum of SGD", "momentum", 0.0, 0.1, 1.0,
            disabled=st.session_state[key("optimizer")] != "sgd",
            help="Share of the last step that is added to the next.",
        )  # fmt: skip
        if "batch_norm_momentum" in options:
            _number(
                "Momentum of batch normalisation", "batch_norm_momentum", 0.0, 0.01, 1.0,
                help="How slowly the averages follow that the finished network uses. With few "
                "steps an epoch, 0.9 follows well and 0.99 lags behind.",
            )  # fmt: skip


def augmentation() -> None:
    """Draw how training pictures are altered."""
    if st.session_state[key("start")] != "fresh" and st.session_state[key("learns")] == "head":
        st.caption(
            "Training pictures are not altered: what the frozen part of the network says of each "
            "is computed once."
        )
        return
    on, mirror = st.columns([1.4, 2], vertical_alignment="center")
    with on:
        st.toggle(
            "Alter training pictures",
            **_keep("augment"),
            help="Each picture is turned, moved and brightened a little, anew in every epoch, so "
            "that the network cannot learn it by heart. Test pictures never are.",
        )
    if not st.session_state[key("augment")]:
        return
    with mirror:
        st.toggle(
            "Mirror left and right",
            **_keep("mirror"),
            help="Half of the pictures: a left knee becomes a right one.",
        )
    first, second, third = st.columns(3, gap="medium")
    with first:
        _slide("Turn, degrees", "rotation", 30.0, 0.5, "±%g", help="Either way, at most.")
        _slide(
            "Brightness, %", "brightness", 40.0, 1.0, "±%g",
            help="Lighter or darker, at most by so much of the range from black to white.",
        )  # fmt: skip
    with second:
        _slide("Move, %", "shift", 20.0, 1.0, "±%g", help="Of the side, either way, at most.")
        _slide("Contrast, %", "contrast", 60.0, 1.0, "±%g", help="More or less, at most.")
    with third:
        _slide("Zoom, %", "zoom", 30.0, 1.0, "±%g", help="Larger or smaller, at most.")


def duration() -> None:
    """Draw the epochs and when training ends."""
    watched = st.session_state[key("validation_share")] > 0
    first, second, third, fourth = st.columns([0.8, 1.5, 1, 1.3], vertical_alignment="bottom")
    with first:
        _number("Epochs", "epochs", 0, 1, help="How often the whole training part is gone through.")
    if not watched:
        with second:
            st.caption(
                "Without a validation part all epochs are trained, and the model gets the weights "
                "of the last one."
            )
        return
    with second:
        st.toggle(
            "Stop when it learns no more",
            **_keep("stops"),
            help="Early stopping: training ends when the loss on the validation part has not "
            "fallen for some epochs.",
        )
    with third:
        _number(
            "Patience, epochs", "patience", 0, 1,
            disabled=not st.session_state[key("stops")],
            help="After so many epochs without a lower validation loss it stops.",
        )  # fmt: skip
    with fourth:
        _choose(
            "Weights that are kept", "keep", _KEEP,
            help="The best epoch is the one with the lowest loss on the validation part. The "
            "test part is never looked at to choose.",
        )  # fmt: skip


def _number(
    label: str,
    name: str,
    least: float,
    step: float,
    most: float | None = None,
    form: str | None = None,
    **more: Any,
) -> None:
    whole = isinstance(least, int)
    st.number_input(
        label,
        least,
        most,
        step=step,
        format=None if whole else form or "%g",
        **_keep(name),
        **more,
    )


def _slide(label: str, name: str, most: float, step: float, form: str, **more: Any) -> None:
    # An earlier run may have gone further than the slider.
    reach = max(most, float(st.session_state[key(name)]))
    st.slider(label, 0.0, reach, step=step, format=form, **_keep(name), **more)
