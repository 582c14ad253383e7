"""What the literature reports, as data: Tables 1 to 3 of Ali, Ibrahim and Altamer (2025).

O. K. M. Ali, A. K. Ibrahim, B. R. Altamer, "A convolution neural network model for knee
osteoporosis classification using X-ray images" (2025). Figures are as printed. They have
no interval, and the split behind them was random by file. What follows from them by
arithmetic alone is computed here, not typed in.
"""

from __future__ import annotations

from dataclasses import dataclass
from functools import cache
from itertools import product

import numpy as np

REFERENCE = (
    "O. K. M. Ali, A. K. Ibrahim, B. R. Altamer, A convolution neural network model for knee "
    "osteoporosis classification using X-ray images, 2025"
)
# The paper's data and protocol.
IMAGES = 1947
TEST_SHARE = 0.2
TEST_IMAGES = 390  # not printed: a fifth, rounded up; :func:`margins` shows that it fits
EPOCHS = 30
SPLIT = {"protocol": "random"}


@dataclass(frozen=True)
class LayerRow:
    """A row of Table 1.

    Attributes:
        name: as printed.
        filters: kernels of a convolution, units of a dense layer.
        kernel: side of the kernel or of the pooling window.
        stride: step of it.
        padding: ``"valid"`` (none) or ``"same"``.
        output: shape printed, (height, width, channels) or (units,).
        printed: what is printed in its place where that is a misprint.
    """

    name: str
    output: tuple[int, ...]
    filters: int | None = None
    kernel: int | None = None
    stride: int | None = None
    padding: str | None = None
    printed: tuple[int, ...] | None = None


TABLE_1 = (
    LayerRow("Input", (224, 224, 3)),
    LayerRow("Conv1", (73, 73, 128), 128, 8, 3, "valid"),
    LayerRow("Conv2", (73, 73, 256), 256, 5, 1, "same"),
    LayerRow("Max pooling", (24, 24, 256), None, 3, 3),
    LayerRow("Conv3", (24, 24, 256), 256, 3, 1, "same"),
    LayerRow("Conv4", (24, 24, 256), 256, 1, 1, "same"),
    LayerRow("Conv5", (24, 24, 256), 256, 1, 1, "same"),
    LayerRow("Conv6", (24, 24, 512), 512, 3, 1, "same"),
    LayerRow("Max pooling", (12, 12, 512), None, 2, 2),
    LayerRow("Conv7", (12, 12, 512), 512, 3, 1, "same"),
    LayerRow("Conv8", (12, 12, 512), 512, 3, 1, "same"),
    LayerRow("Max pooling", (6, 6, 512), None, 2, 2),
    LayerRow("Conv9", (6, 6, 512), 512, 3, 1, "same"),
    LayerRow("Max pooling", (3, 3, 512), None, 2, 2),
    # 3 · 3 · 512 = 4608: with 4609 the printed number of parameters cannot be had.
    LayerRow("Flatten", (4608,), printed=(4609,)),
    LayerRow("Dense", (1024,), 1024),
    LayerRow("Dropout", (1024,)),
    LayerRow("Dense", (1024,), 1024),
    LayerRow("Dropout", (1024,)),
    LayerRow("Dense", (3,), 3),
)
PARAMETERS = 15_610_499
TRAINABLE = 15_604_099
NON_TRAINABLE = 6_400


@dataclass(frozen=True)
class ClassRow:
    """A row of Table 2, as printed: to three places, cut off, not rounded.

    Attributes:
        name: the class.
        precision: share of those called so that are.
        recall: share of those that are that were called so.
        f1: the harmonic mean of the two as printed, so it says nothing that they do not.
    """

    name: str
    precision: float
    recall: float
    f1: float


TABLE_2 = (
    ClassRow("healthy", 0.961, 0.919, 0.939),
    ClassRow("osteopenia", 0.782, 0.794, 0.787),
    ClassRow("osteoporosis", 0.897, 0.931, 0.913),
)
ACCURACY = 0.9025


@dataclass(frozen=True)
class StudyRow:
    """A row of Table 3. None has an interval, nor is said how copies were kept apart.

    Attributes:
        study: who and when.
        citation: its number in the paper's references, or ``None`` for the paper itself.
        images: pictures it used, or ``None`` where Table 3 does not say.
        network: the architecture.
        accuracy: as a share.
    """

    study: str
    citation: int | None
    images: int | None
    network: str
    accuracy: float


TABLE_3 = (
    StudyRow("Abubakar et al. 2022", 38, 240, "GoogLeNet", 0.90),
    StudyRow("Abubakar et al. 2022", 38, 240, "VGG-16", 0.87),
    StudyRow("Abubakar et al. 2022", 38, 240, "ResNet-50", 0.83),
    StudyRow("Wani & Arora 2023", 39, 381, "AlexNet", 0.9091),
    StudyRow("Wani & Arora 2023", 39, 381, "ResNet", 0.863),
    StudyRow("Wani & Arora 2023", 39, 381, "VGG-19", 0.842),
    StudyRow("Wani & Arora 2023", 39, 381, "VGG-16", 0.863),
    StudyRow("Shen et al. 2024", 40, 1573, "VGG-19", 0.89),
    StudyRow("Kaur et al. 2024", 41, None, "VGG-16 (best of eight)", 0.8273),
    StudyRow("Ali et al. 2025", None, IMAGES, "Nine convolutions (proposed)", ACCURACY),
)


@dataclass(frozen=True)
class Margins:
    """What Table 2 fixes of the confusion matrix, in the order of the classes.

    Attributes:
        true: test images of each class (sums of rows).
        predicted: test images called each class (sums of columns).
        correct: the diagonal.
    """

    true: tuple[int, int, int]
    predicted: tuple[int, int, int]
    correct: tuple[int, int, int]

    @property
    def images(self) -> int:
        """Test images."""
        return sum(self.true)

    @property
    def accuracy(self) -> float:
        """Share of the test images that were called what they are."""
        return sum(self.correct) / self.images


def _thousandths(share: float) -> int:
    return round(1000 * share)


def _class_margins(row: ClassRow, images: int) -> list[tuple[int, int, int]]:
    """Return every (true, predicted, correct) of one class that gives its printed figures."""
    found = []
    for correct in range(1, images + 1):
        # Every count at least as large; shares in thousandths, cut off as printed, exactly.
        others = [(n, 1000 * correct // n) for n in range(correct, images + 1)]
        predicted = [n for n, share in others if share == _thousandths(row.precision)]
        true = [n for n, share in others if share == _thousandths(row.recall)]
        found += [(t, p, correct) for t, p in product(true, predicted)]
    return found


@cache
def margins(images: int = TEST_IMAGES) -> tuple[Margins, ...]:
    """Return all margins of a confusion matrix that fit Table 2 and the printed accuracy.

    Every count of true, predicted and correct images is tried for each class. Of the 390
    test images that 80/20 of 1,947 leave, exactly one set of margins fits.

    Args:
        images: test images in all.
    """
    by_class = [_class_margins(row, images) for row in TABLE_2]
    printed = round(ACCURACY * 10_000)
    found = []
    for rows in product(*by_class):
        true, predicted, correct = zip(*rows)
        fits = sum(true) == sum(predicted) == images
        if fits and 10_000 * sum(correct) // images == printed:
            found.append(Margins(true, predicted, correct))
    return tuple(found)


def confusions(fixed: Margins) -> tuple[np.ndarray, ...]:
    """Return every confusion matrix with given margins and diagonal.

    Three classes leave one number free, here how many healthy were called osteopenia.

    Args:
        fixed: margins and diagonal.

    Returns:
        Counts, rows true, columns predicted, shape (3, 3) each, by the free number.
    """
    missed = np.subtract(fixed.true, fixed.correct)
    wrongly = np.subtract(fixed.predicted, fixed.correct)
    found = []
    for free in range(int(missed[0]) + 1):
        matrix = np.diag(fixed.correct)
        matrix[0, 1], matrix[0, 2] = free, missed[0] - free
        matrix[2, 1] = wrongly[1] - free
        matrix[2, 0] = missed[2] - matrix[2, 1]
        matrix[1, 0] = wrongly[0] - matrix[2, 0]
        matrix[1, 2] = missed[1] - matrix[1, 0]
        if (matrix >= 0).all() and matrix[0, 2] + matrix[1, 2] == wrongly[2]:
            found.append(matrix)
    return tuple(found)


@dataclass(frozen=True, eq=False)
class Figure9:
    """The paper's confusion matrix, as far as Table 2 determines it.

    Attributes:
        low: least count of each cell, rows true, columns predicted, shape (3, 3).
        high: largest count; equal to the least where the cell is determined.
        fixed: the margins and the diagonal.
        possible: how many matrices fit.
    """

    low: np.ndarray
    high: np.ndarray
    fixed: Margins
    possible: int


@cache
def figure_9() -> Figure9:
    """Return what Table 2 says of the confusion matrix of Figure 9.

    The figure itself is a picture whose numbers are not in the text; what is here follows
    from the printed shares by arithmetic alone.
    """
    (fixed,) = margins()
    fitting = np.stack(confusions(fixed))
    return Figure9(fitting.min(axis=0), fitting.max(axis=0), fixed, len(fitting))
