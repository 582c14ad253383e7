"""What a model says of one radiograph, as a plain value."""

from __future__ import annotations

from dataclasses import dataclass

from kop_core.explanation import Influence


@dataclass(frozen=True, eq=False)
class Prediction:
    """What a model says of one radiograph.

    Attributes:
        file: the radiograph's name.
        probabilities: by class name, in the order of the classes, summing to 1.
        model: id of the model.
        version: which weights it has.
        calibrated: whether the probabilities were calibrated; if not, they are scores.
        cautions: sentences on what may make this worth less.
        influence: a map of influence, if one was asked for.
    """

    file: str
    probabilities: dict[str, float]
    model: str
    version: str
    calibrated: bool
    cautions: tuple[str, ...] = ()
    influence: Influence | None = None

    @property
    def class_name(self) -> str:
        """The class with the largest probability."""
        return max(self.probabilities, key=self.probabilities.__getitem__)
