"""Real libraries' soft sampling: what is wrong is found and explained, what is right is left alone."""

import importlib.util
import os
from pathlib import Path

import numpy as np
import pytest

from steelyard.conformance import check
from steelyard.conformance.contract import Case
from steelyard.conformance.doors import candidate
from steelyard.conformance.loading import Target
from steelyard.reference import isr_p_weights

pytestmark = pytest.mark.peers


@pytest.fixture(autouse=True)
def _shims(monkeypatch):
    """Their heavy parts are replaced in the candidate's process; see the shims' own words."""
    monkeypatch.setenv("PYTHONPATH", str(Path(__file__).parent / "shims"))


def need(library):
    if importlib.util.find_spec(library) is None:
        if os.environ.get("CI"):
            pytest.fail(f"{library} is missing: pip install --no-deps -r conformance/tests/requirements-peers.txt")
        pytest.skip(f"{library} is not installed")


def judge(library, technique, tmp_path):
    need(library)
    (judged,) = check(library, techniques=[technique], profile="quick", cases=tmp_path).techniques
    return judged, {found.id: found for found in judged.requirements}


def ids(found, status):
    return {id_ for id_, requirement in found.items() if requirement.status == status and requirement.level != "MAY"}


def test_mmdet_merges_objects_from_the_third_image_on(tmp_path):
    """Found with three images, and found that it writes to the caller's label weights."""
    judged, found = judge("mmdet", "isr_p_weights", tmp_path)

    assert judged.dialect == "max"
    assert ids(found, "known") == {"IP-1", "IP-2", "IP-4", "IP-5", "IP-8", "IP-18"}
    assert ids(found, "fail") == ids(found, "error") == set()


def test_the_published_number_of_merged_objects():
    """Three images of one object each, equal losses: the second weights of the first and third are exchanged."""
    need("mmdet")
    iou = np.array([[0.9, 0.5], [0.8, 0.4], [0.7, 0.6]])
    zeros = np.zeros((3, 2), dtype=np.int64)
    arguments = {
        "iou": iou, "classification_losses": np.ones((3, 2)), "labels": zeros, "gt_index": zeros,
        "image_index": np.arange(3)[:, None] + zeros, "label_weights": np.ones((3, 2)),
    }  # fmt: skip
    options = {"num_classes": 1, "gamma": 2.0, "beta": 0.0}

    with candidate(Target("mmdet")) as mmdet:
        (theirs,) = mmdet.evaluate("isr_p_weights", Case(arguments, options, "float32")).outputs

    ours = isr_p_weights(**arguments, **options)
    assert ours[[0, 2], 1] == pytest.approx([0.264, 0.593], abs=5e-4)
    assert theirs[[0, 2], 1] == pytest.approx([0.593, 0.264], abs=5e-4)


@pytest.mark.parametrize(
    ("technique", "known"),
    [
        ("classification_aware_regression_loss", set()),
        ("ghm_classification_loss", {"GHMC-10", "GHMC-13"}),
        ("ghm_regression_loss", {"GHMR-9", "GHMR-10", "GHMR-13", "GHMR-24", "GHMR-29", "GHMR-30"}),
    ],
)
def test_mmdet_is_right_apart_from_half_precision(technique, known, tmp_path):
    """No false alarm: CARL conforms; GHM is the authors' dialect, with faults where range ends."""
    judged, found = judge("mmdet", technique, tmp_path)

    assert judged.verdict == "conforms"
    assert ids(found, "known") == known
    assert ids(found, "fail") == ids(found, "error") == set()
