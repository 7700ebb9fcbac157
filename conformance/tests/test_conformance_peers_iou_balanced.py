"""The samplers of Libra R-CNN in mmdet: what is wrong in them is found on a small image, the rest conforms."""

import importlib.util
import os
from pathlib import Path

import numpy as np
import pytest

from steelyard.conformance import check
from steelyard.conformance.cases import read_case

pytestmark = pytest.mark.peers


@pytest.fixture(autouse=True)
def _shims(monkeypatch):
    """Their heavy parts are replaced in the candidate's process; see the shims' own words."""
    monkeypatch.setenv("PYTHONPATH", str(Path(__file__).parent / "shims"))


def judge(technique, tmp_path):
    """The binding requirements that do not pass, all of them known, and all requirements by id."""
    if importlib.util.find_spec("mmdet") is None:
        if os.environ.get("CI"):
            pytest.fail("mmdet is missing: pip install --no-deps -r conformance/tests/requirements-peers.txt")
        pytest.skip("mmdet is not installed")
    (judged,) = check("mmdet", techniques=[technique], profile="quick", cases=tmp_path).techniques
    found = {requirement.id: requirement for requirement in judged.requirements}
    wrong = {f.id for f in found.values() if f.status not in ("pass", "warn", "skip") and f.level in ("MUST", "SHOULD")}
    assert all(found[name].status == "known" for name in wrong), "a deviation that the adapter does not know"
    assert not [f.id for f in found.values() if f.status == "fixed"]
    return wrong, found


def small(requirement):
    """Arguments of the counterexample."""
    return read_case(Path(requirement.case)).case.arguments


def test_two_mistakes_of_the_negatives(tmp_path):
    """The largest IoU is in no bin; a first call moves a floor that is off to 0, where zeros are in no bin.

    Where a positive holds the largest IoU and none is 0, every bin gives its quota and all fill alike.
    """
    wrong, found = judge("iou_balanced_negatives", tmp_path)

    assert wrong == {"IBN-6", "IBN-7"}
    assert "of the largest IoU, alone in the last bin" in found["IBN-6"].message
    assert small(found["IBN-6"])["max_iou"].tolist() == [[0.0625, 0.0625, 0.25, 0.4375]]
    assert "of IoU 0, alone in the first bin" in found["IBN-7"].message
    assert small(found["IBN-7"])["max_iou"].shape == (2, 5)
    assert {found[name].status for name in ("IBN-2", "IBN-5", "IBN-9", "IBN-10", "IBN-11", "IBN-12")} == {"pass"}


def test_positives_come_twice(tmp_path):
    """It fills up with positives that it has: fewer than asked for. Where some are dropped, it is right."""
    wrong, found = judge("instance_balanced_positives", tmp_path)

    assert wrong == {"IBP-2", "IBP-10"}
    assert "expected 6" in found["IBP-2"].message
    instances = small(found["IBP-2"])["instances"]
    assert np.bincount(instances[0]).tolist() == [8, 1]
    assert {found[name].status for name in ("IBP-3", "IBP-4", "IBP-8", "IBP-9")} == {"pass"}
