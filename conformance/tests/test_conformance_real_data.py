"""The real data as scenes: what its README says of it is what the readers give; nested answers are read."""

from typing import NamedTuple

import numpy as np

from steelyard.conformance.arrays import returned_outputs
from steelyard.conformance.contract import as_outputs
from steelyard.conformance.real_data import (
    LVIS_IMAGES,
    annotated_photograph,
    coco_class_counts,
    lvis_class_counts,
    points_of_image,
    proposals_of_image,
)


class _Inner(NamedTuple):
    one: int
    two: list[int]


class _Outer(NamedTuple):
    inner: _Inner
    three: float


def test_a_tuple_within_a_tuple_is_several_outputs():
    """A record within a record, such as a census with counts by object; a list is one array."""
    answer = _Outer(_Inner(1, [2, 3]), 4.0)

    assert returned_outputs(answer) == (1, [2, 3], 4.0)
    assert [output.tolist() for output in as_outputs(answer)] == [1, [2, 3], 4.0]


def test_proposals_are_sorted_and_tied():
    """Best first, with an area, some scores equal; the numbers of the images wrap around."""
    proposals = proposals_of_image(0)

    assert (np.diff(proposals.scores) <= 0).all()
    assert len(np.unique(proposals.scores)) < len(proposals.scores) == 256
    assert (proposals.boxes[:, 2:] > proposals.boxes[:, :2]).all()
    assert proposals_of_image(64).image_id == proposals.image_id


def test_points_know_their_object_and_its_logit():
    """Foreground points have the logit of their object's class, which is at most that of the best class."""
    points = points_of_image(3)
    foreground = points.labels < 80

    assert foreground.any()
    assert np.isnan(points.object_logits[~foreground]).all()
    assert (points.object_logits[foreground] <= points.scores[foreground]).all()


def test_all_foreground_points_and_boxes_are_read():
    """2,432 foreground points on 64 images; 1,913 boxes on 203, crowds left out."""
    foreground = sum(int((points_of_image(i).labels < 80).sum()) for i in range(64))
    boxes = sum(len(annotated_photograph(i).boxes) for i in range(203))

    assert (foreground, boxes) == (2432, 1913)


def test_counts_of_classes_are_those_that_the_readme_tells():
    """Totals, groups of LVIS and ends of COCO."""
    images, objects = lvis_class_counts()
    coco = coco_class_counts()

    assert (len(images), objects.sum()) == (1203, 1_270_141)
    assert ((images <= 10).sum(), (images <= 100).sum(), len(images)) == (337, 337 + 461, 337 + 461 + 405)
    assert ((images >= 1) & (images <= objects)).all()
    assert images.max() <= LVIS_IMAGES
    assert (len(coco), coco.sum(), coco.max(), coco.min()) == (80, 849_949, 257_253, 198)
