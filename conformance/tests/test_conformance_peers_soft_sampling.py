"""Real libraries' soft sampling: what is wrong is found and explained, what is right is left alone."""

import numpy as np
import pytest

from steelyard.conformance.contract import Case
from steelyard.reference import isr_p_weights

pytestmark = pytest.mark.peers


def test_mmdet_merges_objects_from_the_third_image_on(libraries):
    """Found with three images, and found that it writes to the caller's label weights."""
    judged = libraries.judge("mmdet", "isr_p_weights", {"IP-16"})

    assert judged.result.dialect == "max"
    assert judged.wrong == {"IP-1", "IP-2", "IP-4", "IP-5", "IP-8", "IP-18"}
    assert judged["IP-16"].diagnosis == "isr-p/float32-sums", "also of float64 losses"


@pytest.mark.parametrize(
    ("technique", "mistakes"),
    [
        (
            "isr_p_weights",
            {
                "IP-2": "isr-p/offset-not-accumulated",
                "IP-4": "isr-p/label-weight-inside",
                "IP-18": "isr-p/written-into-label-weights",
            },
        ),
        ("ghm_classification_loss", {"GHMC-13": "ghm-classification/infinite-less-infinite"}),
        (
            "ghm_regression_loss",
            {"GHMR-24": "ghm-regression/one-for-all", "GHMR-29": "ghm-regression/half-square-and-mask"},
        ),
        ("normalise_focal_loss", {"NORM-3": "focal-normaliser/epsilon-for-floor"}),
    ],
)
def test_mmdets_mistakes_are_named(libraries, technique, mistakes):
    """Merged objects, a weight inside of the power, and, without numbers to compare, the input written to."""
    assert libraries.diagnose("mmdet", technique, mistakes) == mistakes


def test_the_published_number_of_merged_objects(libraries):
    """Three images of one object each, equal losses: the second weights of the first and third are exchanged."""
    iou = np.array([[0.9, 0.5], [0.8, 0.4], [0.7, 0.6]])
    zeros = np.zeros((3, 2), dtype=np.int64)
    arguments = {
        "iou": iou, "classification_losses": np.ones((3, 2)), "labels": zeros, "gt_index": zeros,
        "image_index": np.arange(3)[:, None] + zeros, "label_weights": np.ones((3, 2)),
    }  # fmt: skip
    options = {"num_classes": 1, "gamma": 2.0, "beta": 0.0}

    (theirs,) = libraries.evaluate("mmdet", "isr_p_weights", Case(arguments, options, "float32"))

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
def test_mmdet_is_right_apart_from_half_precision(libraries, technique, known):
    """No false alarm: CARL conforms; GHM is the authors' dialect, with faults where range ends."""
    judged = libraries.judge("mmdet", technique)

    assert judged.result.verdict == "conforms"
    assert judged.wrong == known


def test_mmdets_average_without_foreground(libraries):
    """A negative's loss of 0.13 comes out 8 million times as large; with a foreground anchor it is right."""
    losses, labels = np.array([[[0.13]]]), np.array([[1]])

    def divided(label):
        arguments = {"losses": losses, "labels": label}
        return libraries.evaluate("mmdet", "normalise_focal_loss", Case(arguments, {"num_classes": 1}, "float32"))[0]

    assert divided(labels) == pytest.approx(0.13 * 2**23)
    assert divided(labels - 1) == pytest.approx(0.13)


@pytest.mark.parametrize(
    ("library", "dialect"), [("torchvision", "per_image_foreground"), ("fvcore", "batch_foreground")]
)
def test_sums_by_the_number_of_foreground_anchors_are_right(libraries, library, dialect):
    """No false alarm: torchvision's head divides as the paper says."""
    judged = libraries.judge(library, "normalise_focal_loss")

    assert judged.result.verdict == "conforms"
    assert judged.result.dialect == dialect


@pytest.mark.parametrize(
    ("library", "mistake"),
    [("kornia", "focal-normaliser/by-elements"), ("monai", "focal-normaliser/spatial-mean")],
)
def test_means_over_anchors_are_found_and_named(libraries, library, mistake):
    """kornia's mean divides by all elements; monai's sum takes the mean over anchors first."""
    assert libraries.diagnose(library, "normalise_focal_loss", {"NORM-1"}) == {"NORM-1": mistake}
