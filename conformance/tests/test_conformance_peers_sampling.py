"""Real libraries' hard sampling: what is wrong is found and explained, what is right is left alone."""

import sys

import numpy as np
import pytest

from steelyard.conformance.contract import Case
from steelyard.reference import ssd_confidence_loss, stratified_hard_example_mining

pytestmark = pytest.mark.peers


def test_torchvision_counts_positives_twice(libraries):
    """Where there are fewer negatives than asked for: found, made small, and explained."""
    judged = libraries.judge("torchvision", "ssd_confidence_loss", {"SSD-2", "SSD-8", "SSD-9", "SSD-13"})

    assert judged.wrong == {"SSD-2", "SSD-8", "SSD-9", "SSD-13", "SSD-19"}
    assert judged["SSD-2"].diagnosis == judged["SSD-13"].diagnosis == "ssd/positives-count-twice"
    assert judged["SSD-8"].diagnosis == "ssd/rounded-up"
    assert judged["SSD-9"].diagnosis == "ssd/ignored-is-background"
    assert judged.counterexample("SSD-2").case.arguments["labels"].tolist() == [[0, 3]]


def test_the_published_number_of_double_counting(libraries):
    """Two positives and two negatives of four equal logits: 6 ln 4 / 2 where 4 ln 4 / 2 is right."""
    arguments = {"logits": np.zeros((1, 4, 4)), "labels": np.array([[0, 0, 3, 3]])}
    options = {"negatives_per_positive": 3.0, "min_negatives": 0}

    (theirs,) = libraries.evaluate("torchvision", "ssd_confidence_loss", Case(arguments, options, "float64"))

    assert theirs == pytest.approx(4.158883083359672, rel=1e-12)
    assert ssd_confidence_loss(**arguments, **options) == pytest.approx(2.772588722239781, rel=1e-12)


@pytest.mark.parametrize(
    ("library", "technique", "known"),
    [
        ("mmdet", "ssd_confidence_loss", {"SSD-8"}),
        ("mmdet", "stratified_hard_example_mining", {"SH-4"}),
        ("mmdet", "random_sampling", set()),
        ("torchvision", "random_sampling", set()),
    ],
)
def test_these_are_right(libraries, library, technique, known):
    """No false alarm: mmdet's SSD head and sampler of hard examples, and both libraries' random samplers, conform."""
    judged = libraries.judge(library, technique)

    assert judged.result.verdict == "conforms"
    assert judged.wrong == known


@pytest.mark.skipif(sys.platform != "linux", reason="torch.topk takes other equal losses where its C++ library does")
@pytest.mark.parametrize(
    ("technique", "mistakes"),
    [
        ("ssd_confidence_loss", {"SSD-11": "ssd/quickselect"}),
        ("stratified_hard_example_mining", {"SH-4": "stratified/quickselect"}),
    ],
)
def test_mmdets_choice_among_equal_losses_is_named(libraries, technique, mistakes):
    """It is that of torch.topk."""
    assert libraries.diagnose("mmdet", technique, mistakes) == mistakes


def test_monai_mines_negatives_without_positives(libraries):
    """It takes an image without positives for one with one positive."""
    judged = libraries.judge("monai", "hard_negative_mining", {"HN-5"})

    assert judged.wrong >= {"HN-1", "HN-5"}
    assert judged["HN-5"].diagnosis == "hard-negatives/at-least-one-positive"


def test_monai_does_not_fill_up_with_negatives(libraries):
    """Its quota of negatives follows the positives found: 2 draw 6 where others draw 62."""
    judged = libraries.judge("monai", "stratified_hard_example_mining", {"SH-3"})
    arguments = {"losses": np.arange(100.0)[None] / 128.0, "labels": np.array([[0, 0] + [1] * 98])}
    options = {"num_classes": 1, "num_samples": 64, "positive_fraction": 0.25, "negatives_per_positive": None}

    _, theirs = libraries.evaluate("monai", "stratified_hard_example_mining", Case(arguments, options, "float32"))

    assert judged["SH-3"].status == "known"
    assert judged["SH-3"].diagnosis == "stratified/negatives-by-ratio"
    assert theirs.sum() == 6
    assert stratified_hard_example_mining(**arguments, **options).negative.sum() == 62
