"""What KOP knows of an architecture before anything is built."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

from kop_core.classes import CLASS_NAMES
from kop_core.radiographs.preparation import JOINTS, PREPARATIONS, WHOLE, Preparation, at_side

if TYPE_CHECKING:
    import keras


@dataclass(frozen=True)
class Network:
    """One architecture.

    Attributes:
        name: its name in commands, cards and pages.
        title: its name in a sentence.
        builder: called with ``classes`` and the options of :attr:`options`.
        preparation: name of the preparation of pixels that it is trained with.
        explain_layer: layer whose output maps of influence are drawn from. All paths
            from input to output go through it.
        options: what may be set when it is built, with the defaults.
        reference: where it was published, and whose count of parameters is
            :attr:`reference_parameters`.
        sizes: smallest and largest side of the input, in pixels, that it can be built for.
        why: what stands against a side outside them, as part of a sentence.
        reference_parameters: how many parameters its publication, or the implementation
            that is named beside it, has.
        reference_classes: the number of classes with which it has them.
        counted: what the reference counts: ``"all"``, or ``"trainable"`` if it leaves out
            the moving averages of batch normalisation, as PyTorch does.
        reference_options: options with which it is the published one.
        backbone_layer: layer whose output are the features that the head starts from;
            :attr:`explain_layer` if empty. All paths from input to output go through it.
        weights: ``"imagenet"`` if KOP can have weights for it that were trained on it: see
            :mod:`kop_core.networks.pretrained`.
        choices: what may be chosen for each of the :attr:`options` that is a word.
            Those that are no whole numbers go from 0 to below 1.
    """

    name: str
    title: str
    builder: Callable[..., keras.Model]
    preparation: str
    explain_layer: str
    options: dict[str, Any]
    reference: str
    sizes: tuple[int, int] = (32, 512)
    why: str = ""
    reference_parameters: int = 0
    reference_classes: int = len(CLASS_NAMES)
    counted: str = "all"
    reference_options: dict[str, Any] = field(default_factory=dict)
    backbone_layer: str = ""
    weights: str | None = None
    choices: dict[str, tuple[str, ...]] = field(default_factory=dict)

    @property
    def input(self) -> Preparation:
        """The preparation of pixels that it is trained with."""
        return PREPARATIONS[self.preparation]

    def input_of(self, size: int | None, view: str = WHOLE) -> Preparation:
        """Return its preparation to another height, and of another view.

        Args:
            size: pixels; ``None`` for its own.
            view: what of a picture it is shown, one of
                :data:`kop_core.radiographs.preparation.VIEWS`.
        """
        side = self.input.height if size is None else size
        return at_side(PREPARATIONS["joints224"] if view == JOINTS else self.input, side)

    def wrong_size(self, size: int) -> str | None:
        """Return why it cannot be built for a side in pixels, or ``None`` if it can."""
        smallest, largest = self.sizes
        if smallest <= size <= largest:
            return None
        why = f": {self.why}" if self.why else ""
        return (
            f"The network {self.name} takes pictures of {smallest} to {largest} pixels a side, "
            f"not {size}{why}."
        )

    def wrong_options(self, options: dict[str, Any]) -> str | None:
        """Return why it cannot be built with some options, or ``None`` if it can."""
        for name, value in options.items():
            if name not in self.options:
                known = ", ".join(self.options) or "none"
                return f"The network {self.name} has no option {name!r}. Known: {known}."
            if name in self.choices:
                if value not in self.choices[name]:
                    return (
                        f"The option {name} of the network {self.name} cannot be {value!r}. "
                        f"Known: {', '.join(self.choices[name])}."
                    )
            elif type(self.options[name]) is float and not (
                isinstance(value, (int, float)) and type(value) is not bool and 0 <= value < 1
            ):
                return (
                    f"The option {name} of the network {self.name} must be a number from 0 to "
                    f"below 1, and is {value!r}."
                )
        return None
