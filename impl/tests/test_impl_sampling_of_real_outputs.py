"""All 64 photographs of the real data as one batch: on true skew and with real ties, the specification's choice."""

import numpy as np
import pytest
import torch

from steelyard import impl, reference
from steelyard.conformance.real_data import points_of_image, proposals_of_image

IMAGES, CLASSES = 64, 80


@pytest.fixture(scope="module")
def points():
    """Scores and labels of every point: one in fifty is foreground."""
    images = [points_of_image(number) for number in range(IMAGES)]
    return np.stack([i.scores for i in images]), np.stack([i.labels for i in images])


@pytest.fixture(scope="module")
def proposals():
    """Boxes, labels and scores of the 256 best boxes; a box is foreground from an IoU of 1/2 with an object on."""
    found = []
    for number in range(IMAGES):
        image = proposals_of_image(number)
        overlaps = np.vstack([reference.pairwise_iou(image.gt_boxes, image.boxes), np.zeros((1, len(image.boxes)))])
        classes = np.append(image.gt_classes, CLASSES)
        labels = np.where(overlaps.max(axis=0) >= 0.5, classes[overlaps.argmax(axis=0)], CLASSES)
        found.append((image.boxes, labels, image.scores))
    return [np.stack(arrays) for arrays in zip(*found, strict=True)]


def half(array):
    """As the detector gave it: in float16, which loses nothing."""
    tensor = torch.from_numpy(array).half()
    assert (tensor.double().numpy() == array).all()
    return tensor


def test_the_outputs_have_ties_and_true_skew(points):
    """What these tests are for: hundreds of equal scores in each image, foreground between 0 and a few per cent."""
    scores, labels = points

    assert max(len(np.unique(row)) for row in scores) < 1400
    assert 0.01 < (labels < CLASSES).mean() < 0.03


@pytest.mark.parametrize("ratio", [3.0, 2.5, 100.0])
def test_hard_negative_mining(points, ratio):
    """Ties at the last place that is taken are decided alike; at 100 negatives for a positive some images run short."""
    scores, labels = points
    options = {"num_classes": CLASSES, "negatives_per_positive": ratio}

    sample = impl.hard_negative_mining(half(scores), torch.from_numpy(labels), **options)

    expected = reference.hard_negative_mining(scores, labels, **options)
    np.testing.assert_array_equal(sample.positive.numpy(), expected.positive)
    np.testing.assert_array_equal(sample.negative.numpy(), expected.negative)


@pytest.mark.parametrize("sampler", ["random_sampling", "stratified_hard_example_mining"])
def test_samplers_with_a_quota(points, sampler):
    """256 of the points, at most a tenth positive; as keys, numbers as coarse as the scores."""
    scores, labels = points
    keys = np.random.default_rng(0).integers(0, 1024, labels.shape) / 1024
    ranked = {"random_sampling": (labels, keys), "stratified_hard_example_mining": (scores, labels)}[sampler]
    options = {"num_classes": CLASSES, "num_samples": 256, "positive_fraction": 0.1}

    sample = getattr(impl, sampler)(*map(torch.from_numpy, ranked), **options)

    expected = getattr(reference, sampler)(*ranked, **options)
    np.testing.assert_array_equal(sample.positive.numpy(), expected.positive)
    np.testing.assert_array_equal(sample.negative.numpy(), expected.negative)


@pytest.mark.parametrize("labels_apart", [True, False])
def test_online_hard_example_mining(proposals, labels_apart):
    """Proposals in heaps, before any suppression, ranked by scores of which many are equal."""
    boxes, labels, scores = proposals
    nothing = np.zeros_like(scores)
    options = {"num_classes": CLASSES, "num_samples": 64, "labels_apart": labels_apart}

    selected = impl.online_hard_example_mining(
        half(boxes), torch.from_numpy(labels), half(scores), half(nothing), **options
    )

    expected = reference.online_hard_example_mining(boxes, labels, scores, nothing, **options)
    np.testing.assert_array_equal(selected.numpy(), expected)


@pytest.mark.parametrize("max_new", [None, 250])
def test_a_round_of_bootstrapping(points, max_new):
    """The background of a photograph as the pool of a detector that has scored it."""
    scores, labels = points
    options = {"add_threshold": -3.0, "max_new": max_new}

    added = impl.mine_false_positives(half(scores), torch.from_numpy(labels < CLASSES), **options)

    np.testing.assert_array_equal(added.numpy(), reference.mine_false_positives(scores, labels < CLASSES, **options))
