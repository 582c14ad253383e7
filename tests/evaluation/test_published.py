"""The paper's tables against the network that KOP builds, and against themselves."""

from __future__ import annotations

import math

import numpy as np
import pytest

from kop_core.classes import CLASS_NAMES
from kop_core.evaluation import Predictions, evaluate, published


@pytest.fixture(scope="module")
def paper():
    from kop_core import networks

    return networks.build("paper")


def rows_of(model):
    """Return Table 1 as the built network has it: what, filters, kernel, stride, padding, shape."""
    found = []
    for layer in model.layers:
        kind = type(layer).__name__
        if kind == "BatchNormalization":
            continue  # the paper names it in its text, not in the table
        shape = tuple(layer.output.shape[1:])
        if kind == "Conv2D":
            (kernel, _), (stride, _) = layer.kernel_size, layer.strides
            found.append(("Conv", shape, layer.filters, kernel, stride, layer.padding))
        elif kind == "MaxPooling2D":
            (kernel, _), (stride, _) = layer.pool_size, layer.strides
            found.append(("Max pooling", shape, None, kernel, stride, None))
        elif kind == "Dense":
            found.append(("Dense", shape, layer.units, None, None, None))
        else:
            name = {"InputLayer": "Input", "Flatten": "Flatten", "Dropout": "Dropout"}[kind]
            found.append((name, shape, None, None, None, None))
    return found


def test_table_1_is_the_network_that_is_built(paper):
    printed = [
        (row.name.rstrip("123456789"), row.output, row.filters, row.kernel, row.stride, row.padding)
        for row in published.TABLE_1
    ]
    assert rows_of(paper) == printed


def test_parameters_are_the_printed_ones(paper):
    from kop_core import networks

    counts = networks.counts(paper)
    assert counts == {
        "parameters": published.PARAMETERS,
        "trainable": published.TRAINABLE,
        "non_trainable": published.NON_TRAINABLE,
    }


def test_the_misprint_cannot_be_right(paper):
    (flatten,) = [row for row in published.TABLE_1 if row.name == "Flatten"]
    assert flatten.output == (4608,) and flatten.printed == (4609,)
    more = (flatten.printed[0] - flatten.output[0]) * 1024
    assert paper.count_params() + more != published.PARAMETERS == paper.count_params()


def test_exactly_one_set_of_margins_fits():
    (found,) = published.margins()
    assert found == published.Margins((162, 68, 160), (155, 69, 166), (149, 54, 149))
    assert found.images == 390 and sum(found.correct) == 352
    assert math.floor(found.accuracy * 10_000) / 10_000 == published.ACCURACY
    for images in (388, 389, 391, 392):
        assert published.margins(images) == ()


def test_f1_follows_from_the_printed_precision_and_recall():
    for row in published.TABLE_2:
        precision, recall = (round(1000 * share) for share in (row.precision, row.recall))
        assert 2 * precision * recall // (precision + recall) == round(1000 * row.f1)


def test_one_number_is_free():
    matrices = published.confusions(*published.margins())
    assert [int(m[0, 1]) for m in matrices] == list(range(4, 11))
    for matrix in matrices:
        true, predicted = matrix.sum(axis=1), matrix.sum(axis=0)
        for place, row in enumerate(published.TABLE_2):
            assert 1000 * matrix[place, place] // predicted[place] == round(1000 * row.precision)
            assert 1000 * matrix[place, place] // true[place] == round(1000 * row.recall)
    assert len({m.tobytes() for m in matrices}) == 7


def test_the_margins_give_the_printed_figures_through_our_metrics():
    matrix = published.confusions(*published.margins())[3]
    true, called = (np.repeat(side.ravel(), matrix.ravel()) for side in np.indices((3, 3)))
    files = tuple(f"{i}" for i in range(len(true)))
    found = evaluate(Predictions(files, ("",) * len(files), true, np.eye(3)[called]), draws=5)
    assert found.metrics["accuracy"].value == pytest.approx(352 / 390)
    for row in published.TABLE_2:
        assert math.floor(1000 * found.metrics[f"recall_{row.name}"].value) == round(
            1000 * row.recall
        )


def test_the_classes_and_the_proposed_row_agree():
    assert tuple(row.name for row in published.TABLE_2) == CLASS_NAMES
    proposed = published.TABLE_3[-1]
    assert proposed.citation is None and proposed.accuracy == published.ACCURACY
    assert math.ceil(published.IMAGES * published.TEST_SHARE) == published.TEST_IMAGES
    assert max(published.TABLE_3[:-1], key=lambda r: r.accuracy).network == "AlexNet"
