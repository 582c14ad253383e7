import numpy as np
import pytest
from sklearn.metrics import auc, average_precision_score, roc_auc_score

from kop_core.evaluation.curves import precision_recall_curves, roc_curves
from tests.evaluation.simulated import skilled, table


def test_the_areas_under_the_curves():
    given = skilled(2)
    for place, (roc, pr) in enumerate(zip(roc_curves(given), precision_recall_curves(given))):
        positive, score = given.true == place, given.probabilities[:, place]
        assert auc(roc.x, roc.y) == pytest.approx(roc_auc_score(positive, score))
        steps = -np.sum(np.diff(pr.x) * pr.y[:-1])
        assert steps == pytest.approx(average_precision_score(positive, score))
        assert pr.prevalence == pytest.approx(positive.mean())
        assert len(roc.x) == len(roc.thresholds) and len(pr.x) == len(pr.thresholds)
        for curve in (roc, pr):
            assert (curve.thresholds[np.isfinite(curve.thresholds)] <= 1).all()


def test_a_class_without_images_has_no_curve():
    given = table([0, 0, 2, 2], np.eye(3)[[0, 2, 2, 0]])
    assert [c.class_name for c in roc_curves(given)] == ["healthy", "osteoporosis"]
    assert roc_curves(table([0, 0], np.eye(3)[[0, 0]])) == ()
    assert precision_recall_curves(table([0, 0], np.eye(3)[[0, 0]])) == ()
