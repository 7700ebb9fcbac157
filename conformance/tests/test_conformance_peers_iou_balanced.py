"""The samplers of Libra R-CNN in mmdet: what is wrong in them is found on a small image, the rest conforms."""

import numpy as np
import pytest

pytestmark = pytest.mark.peers


def test_two_mistakes_of_the_negatives(libraries):
    """The largest IoU is in no bin; a first call moves a floor that is off to 0, where zeros are in no bin.

    Where a positive holds the largest IoU and none is 0, every bin gives its quota and all fill alike.
    """
    judged = libraries.judge("mmdet", "iou_balanced_negatives", {"IBN-6", "IBN-7"})

    assert judged.wrong == {"IBN-6", "IBN-7"}
    assert judged.result.dialect == "authors_code", "the bins span positives too"
    assert judged["IBN-6"].diagnosis == "iou-balanced/largest-left-out"
    assert judged["IBN-7"].diagnosis == "iou-balanced/floor-moved"
    assert "of the largest IoU, alone in the last bin" in judged["IBN-6"].message
    assert judged.counterexample("IBN-6").case.arguments["max_iou"].tolist() == [[0.0625, 0.0625, 0.25, 0.4375]]
    assert "of IoU 0, alone in the first bin" in judged["IBN-7"].message
    assert judged.counterexample("IBN-7").case.arguments["max_iou"].shape == (2, 5)
    assert {judged[name].status for name in ("IBN-2", "IBN-5", "IBN-9", "IBN-10", "IBN-11", "IBN-12")} == {"pass"}


def test_positives_come_twice(libraries):
    """It fills up with positives that it has: fewer than asked for. Where some are dropped, it is right."""
    judged = libraries.judge("mmdet", "instance_balanced_positives", {"IBP-2"})

    assert judged.wrong == {"IBP-2", "IBP-10"}
    assert "expected 6" in judged["IBP-2"].message
    instances = judged.counterexample("IBP-2").case.arguments["instances"]
    assert np.bincount(instances[0]).tolist() == [8, 1]
    assert {judged[name].status for name in ("IBP-3", "IBP-4", "IBP-8", "IBP-9")} == {"pass"}
