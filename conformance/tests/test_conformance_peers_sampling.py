"""Real libraries' hard sampling: what is wrong is found and explained, what is right is left alone."""

import importlib.util
import os
from pathlib import Path

import numpy as np
import pytest

from steelyard.conformance import check
from steelyard.conformance.cases import read_case
from steelyard.conformance.contract import Case
from steelyard.conformance.doors import candidate
from steelyard.conformance.loading import Target
from steelyard.reference import ssd_confidence_loss, stratified_hard_example_mining

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


def answer(library, technique, case):
    need(library)
    with candidate(Target(library)) as theirs:
        return theirs.evaluate(technique, case).outputs


def ids(found, status):
    return {id_ for id_, requirement in found.items() if requirement.status == status and requirement.level != "MAY"}


def test_torchvision_counts_positives_twice(tmp_path):
    """Where there are fewer negatives than asked for: found, made small, and explained."""
    _, found = judge("torchvision", "ssd_confidence_loss", tmp_path)

    assert ids(found, "known") == {"SSD-2", "SSD-8", "SSD-9", "SSD-13", "SSD-19"}
    assert ids(found, "fail") == ids(found, "error") == set()
    assert found["SSD-2"].diagnosis == found["SSD-13"].diagnosis == "ssd/positives-count-twice"
    assert found["SSD-8"].diagnosis == "ssd/rounded-up"
    assert found["SSD-9"].diagnosis == "ssd/ignored-is-background"
    assert read_case(Path(found["SSD-2"].case)).case.arguments["labels"].tolist() == [[0, 3]]


def test_the_published_number_of_double_counting():
    """Two positives and two negatives of four equal logits: 6 ln 4 / 2 where 4 ln 4 / 2 is right."""
    arguments = {"logits": np.zeros((1, 4, 4)), "labels": np.array([[0, 0, 3, 3]])}
    options = {"negatives_per_positive": 3.0, "min_negatives": 0}

    (theirs,) = answer("torchvision", "ssd_confidence_loss", Case(arguments, options, "float64"))

    assert theirs == pytest.approx(4.158883083359672, rel=1e-12)
    assert ssd_confidence_loss(**arguments, **options) == pytest.approx(2.772588722239781, rel=1e-12)


@pytest.mark.parametrize(
    ("technique", "known"),
    [
        ("ssd_confidence_loss", {"SSD-8"}),
        ("stratified_hard_example_mining", {"SH-4"}),
        ("random_sampling", set()),
    ],
)
def test_mmdet_is_right(technique, known, tmp_path):
    """No false alarm: its SSD head, its sampler of hard examples and its random sampler conform."""
    judged, found = judge("mmdet", technique, tmp_path)

    assert judged.verdict == "conforms"
    assert ids(found, "known") == known
    assert ids(found, "fail") == ids(found, "error") == set()


def test_torchvisions_balanced_sampler_is_right(tmp_path):
    """No false alarm."""
    judged, found = judge("torchvision", "random_sampling", tmp_path)

    assert judged.verdict == "conforms"
    assert ids(found, "fail") == ids(found, "error") == set()


def test_monai_mines_negatives_without_positives(tmp_path):
    """It takes an image without positives for one with one positive."""
    _, found = judge("monai", "hard_negative_mining", tmp_path)

    assert ids(found, "known") >= {"HN-1", "HN-5"}
    assert ids(found, "fail") == ids(found, "error") == set()
    assert found["HN-5"].diagnosis == "hard-negatives/at-least-one-positive"


def test_monai_does_not_fill_up_with_negatives(tmp_path):
    """Its quota of negatives follows the positives found: 2 draw 6 where others draw 62."""
    _, found = judge("monai", "stratified_hard_example_mining", tmp_path)
    arguments = {"losses": np.arange(100.0)[None] / 128.0, "labels": np.array([[0, 0] + [1] * 98])}
    options = {"num_classes": 1, "num_samples": 64, "positive_fraction": 0.25, "negatives_per_positive": None}

    _, theirs = answer("monai", "stratified_hard_example_mining", Case(arguments, options, "float32"))

    assert ids(found, "fail") == ids(found, "error") == set()
    assert found["SH-3"].status == "known"
    assert found["SH-3"].diagnosis == "stratified/negatives-by-ratio"
    assert theirs.sum() == 6
    assert stratified_hard_example_mining(**arguments, **options).negative.sum() == 62
