"""Census of the anchors of RetinaNet, one annotated image at a time.

Source: the figure of Oksuz et al., "Imbalance Problems in Object Detection: A Review", TPAMI 2021 (arXiv
1909.00169), section 4, on RetinaNet's anchors (Lin et al., ICCV 2017, arXiv 1708.02002).

No network is needed: the size of an image and its boxes say how many of its anchors a detector would call
foreground.
"""

from typing import NamedTuple

import numpy as np
from numpy.typing import ArrayLike

from steelyard.reference.checks import Int, box_array, count, int_array, one_of
from steelyard.reference.detection.anchor_designs import RETINANET_LEVELS, retinanet_anchors
from steelyard.reference.detection.anchors import inside_image
from steelyard.reference.detection.assignment import max_iou_assignment
from steelyard.reference.detection.census import Census, count_labels
from steelyard.reference.detection.census_details import foreground_by_object


class AnchorCensus(NamedTuple):
    """Of one image."""

    census: Census
    foreground_by_object: Int
    """Shape (M,): foreground anchors of each object."""


def resized_image_size(*, height: int, width: int, short_side: int = 800, long_side: int = 1333) -> tuple[int, int]:
    r"""Height and width at which an image enters the network.

    It is scaled by $\min(s / \min(H, W), \; l / \max(H, W))$, and each side is rounded to the nearest pixel.

    Parameters
    ----------
    height, width : int >= 1
    short_side, long_side : int >= 1
        $s$: aim for the shorter side; $l$: bound for the longer one.

    Returns
    -------
    (int, int)

    Raises
    ------
    SpecError
        A number is not an int >= 1.

    Source
    ------
    Lin et al., "Feature Pyramid Networks", CVPR 2017, section 5. Ruling: a half is rounded up (mmdet, detectron2).

    Examples
    --------
    >>> resized_image_size(height=480, width=640)
    (800, 1067)
    >>> resized_image_size(height=300, width=900)
    (444, 1333)
    """
    # CHECKS
    height, width = count("height", height), count("width", width)
    short_side, long_side = count("short_side", short_side), count("long_side", long_side)

    # QUANTITIES OF THE PAPER
    scale = min(short_side / min(height, width), long_side / max(height, width))

    # RESULT
    return int(height * scale + 0.5), int(width * scale + 0.5)


def retinanet_anchor_census(  # noqa: PLR0913 - image, objects, and the rule, by keyword
    gt_boxes: ArrayLike,
    gt_labels: ArrayLike,
    *,
    height: int,
    width: int,
    num_classes: int,
    foreground_iou: float = 0.5,
    background_iou: float = 0.4,
    low_quality: str | None = None,
    universe: str = "all",
) -> AnchorCensus:
    """Census of RetinaNet's anchors for one image with its boxes.

    The image is resized to a short side of 800 and a long side of at most 1333, its boxes with it.

    Parameters
    ----------
    gt_boxes : float, shape (M, 4)
        In pixels of the image as it is, crowds left out.
    gt_labels : int, shape (M,)
        0..C-1, or -1 for a row that holds no object.
    height, width : int >= 1
        Of the image as it is.
    num_classes : int >= 1
        C.
    foreground_iou, background_iou, low_quality
        As in `max_iou_assignment`.
    universe : "all" or "inside"
        "all" counts every anchor of the padded feature maps, "inside" only those that do not cross the border of
        the resized image.

    Returns
    -------
    AnchorCensus
        `census`, with five levels, and `foreground_by_object`, shape (M,).

    Raises
    ------
    SpecError
        As `max_iou_assignment`; a side is not an int >= 1.

    Source
    ------
    Review, section 4. Ruling: all anchors are counted, as no detector of this kind drops those at the border.

    Examples
    --------
    An object that fills the image of 64 x 64, 800 x 800 after resizing:

    >>> census, by_object = retinanet_anchor_census([[0, 0, 64, 64]], [0], height=64, width=64, num_classes=1)
    >>> census.background + census.ignored + census.foreground, by_object.tolist() == [census.foreground]
    (120087, True)
    """
    # CHECKS
    box = box_array("gt_boxes", gt_boxes)
    label = int_array("gt_labels", gt_labels, shape=box.shape[:1])
    one_of("universe", universe, ("all", "inside"))

    # QUANTITIES OF THE PAPER
    new_height, new_width = resized_image_size(height=height, width=width)
    factors = new_width / width, new_height / height
    anchors, levels = retinanet_anchors(height=new_height, width=new_width)
    counted = np.ones(len(anchors), dtype=np.bool_)
    if universe == "inside":
        counted = inside_image(anchors, [new_height, new_width])
    assignment = max_iou_assignment(
        anchors,
        box * np.tile(factors, 2),
        label,
        num_classes=num_classes,
        foreground_iou=foreground_iou,
        background_iou=background_iou,
        low_quality=low_quality,
        candidate_mask=counted,
    )

    # RESULT
    return AnchorCensus(
        count_labels(
            assignment.labels,
            num_classes=num_classes,
            levels=levels,
            num_levels=len(RETINANET_LEVELS),
            mask=counted,
        ),
        foreground_by_object(assignment.matched_gt, assignment.labels, num_objects=len(box), num_classes=num_classes),
    )
