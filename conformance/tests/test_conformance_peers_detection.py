"""Boxes, anchors and matchers of real libraries: what is wrong in them is found and explained, the rest conforms."""

import numpy as np
import pytest

pytestmark = pytest.mark.peers


RIGHT = [
    ("torchvision", "clip_boxes"),
    ("torchvision", "grid_anchors"),
    ("mmdet", "cell_anchors"),
    ("mmdet", "grid_anchors"),
    ("mmdet", "grid_points"),
    ("mmdet", "retinanet_anchors"),
    ("mmdet", "faster_rcnn_anchors"),
]


@pytest.mark.parametrize(("library", "technique"), RIGHT)
def test_no_false_alarm(libraries, library, technique):
    """Every MUST and SHOULD holds."""
    judged = libraries.judge(library, technique)

    assert judged.wrong == set()


def test_the_overlap_of_a_point_with_itself_is_nan_in_torchvision(libraries):
    """0/0, on one point and itself; nothing else is wrong."""
    judged = libraries.judge("torchvision", "pairwise_iou", {"IOU-3"})

    assert judged.wrong == {"IOU-3"}
    assert judged["IOU-3"].diagnosis == "iou/zero-by-zero"
    assert "got nan, expected 0" in judged["IOU-3"].message
    one, other = judged.counterexample("IOU-3").case.arguments.values()
    assert one.tolist() == other.tolist() == [[0.0, 0.0, 0.0, 0.0]]


@pytest.mark.parametrize(
    ("technique", "small_boxes", "half"),
    [
        ("pairwise_iou", "IOU-6", "IOU-7"),
        ("aligned_iou", "AIOU-6", "AIOU-7"),
        ("pairwise_intersection_over_area", "IOA-6", "IOA-7"),
    ],
)
def test_mmdet_clamps_small_unions_and_overflows_in_half_precision(libraries, technique, small_boxes, half):
    """Boxes of a side of 5e-4 have an overlap of 0.24 with themselves, boxes of 256 pixels NaN in float16."""
    judged = libraries.judge("mmdet", technique, {small_boxes, half})

    assert judged.wrong == {small_boxes, half}
    assert judged[small_boxes].diagnosis.rpartition("/")[2] in ("clamped-union", "clamped-area")
    assert judged[half].diagnosis.rpartition("/")[2] in ("half-arithmetic", "half-and-clamped")
    assert "got nan, expected 1" in judged[half].message


def test_generalised_overlaps_of_both(libraries):
    """0/0 in torchvision, areas of at least 1e-6 in mmdet, and the product of negative sides in both."""
    judged = libraries.judge("torchvision", "pairwise_giou", {"GIOU-3", "GIOU-5"})
    in_mmdet = libraries.judge("mmdet", "pairwise_giou", {"GIOU-6"})

    assert judged.wrong == {"GIOU-3", "GIOU-5"}
    assert judged["GIOU-3"].diagnosis == "giou/zero-by-zero"
    assert judged["GIOU-5"].diagnosis == "giou/negative-sides-by-zero"
    assert in_mmdet.wrong == {"GIOU-3", "GIOU-5", "GIOU-6", "GIOU-7"}
    assert in_mmdet["GIOU-6"].diagnosis == "giou/clamped-union"


def test_the_area_of_an_inverted_box_in_torchvision(libraries):
    """Two negative sides multiply to something positive."""
    judged = libraries.judge("torchvision", "box_area", {"AREA-3"})

    assert judged.wrong == {"AREA-3"}
    assert judged["AREA-3"].diagnosis == "area/negative-sides"


def test_torchvision_rounds_the_anchors_of_a_cell(libraries):
    """Size 32 and ratio 1/2: -23 in place of -22.627."""
    judged = libraries.judge("torchvision", "cell_anchors", {"CELL-1"})

    assert judged.wrong == {"CELL-1", "CELL-2", "CELL-3", "CELL-5"}
    assert judged["CELL-1"].diagnosis == "cell/rounded"
    assert "got -23, expected -22.627417" in judged["CELL-1"].message
    np.testing.assert_equal(
        judged.counterexample("CELL-1").case.arguments, {"sizes": np.array([32.0]), "ratios": np.array([0.5])}
    )


def test_the_anchors_of_torchvisions_retinanet(libraries):
    """Whole sizes, rounded sides, and strides that a division gives."""
    judged = libraries.judge("torchvision", "retinanet_anchors", {"RETINA-1"})

    assert judged.wrong == {"RETINA-1"}
    assert judged["RETINA-1"].diagnosis == "retinanet/rounded-and-divided"


def test_an_anchor_on_the_border_is_outside_in_mmdet(libraries):
    """A strict comparison, from the time of inclusive pixels."""
    judged = libraries.judge("mmdet", "inside_image", {"INSIDE-1", "INSIDE-2", "INSIDE-5"})

    assert judged.wrong == {"INSIDE-1", "INSIDE-2", "INSIDE-5"}
    assert {judged[name].diagnosis for name in judged.wrong} == {"inside/below-the-border"}


def test_an_object_that_overlaps_nothing_claims_candidates_in_torchvision(libraries):
    """All of IoU 0 with `Matcher`, the first one with `SSDMatcher`; both raise without objects."""
    judged = libraries.judge("torchvision", "max_iou_matching", {"MATCH-3", "MATCH-8", "MATCH-9"})

    assert judged.wrong == {"MATCH-3", "MATCH-9", "MATCH-10"}
    assert judged["MATCH-3"].diagnosis == "matching/invisible-claims"
    assert judged.counterexample("MATCH-3").case.arguments["iou"].tolist() == [[0.0]]
    assert judged["MATCH-8"].diagnosis == "matching/best-by-argmax"
    assert "No ground-truth boxes" in judged["MATCH-9"].message


def test_the_low_quality_rule_of_mmdet(libraries):
    """The last object that claims a candidate gets it, and one that overlaps nothing claims all."""
    judged = libraries.judge("mmdet", "max_iou_matching", {"MATCH-2", "MATCH-3"})

    assert judged.wrong == {"MATCH-2", "MATCH-3"}
    assert judged["MATCH-2"].diagnosis == "matching/overwritten-target"
    assert judged["MATCH-3"].diagnosis == "matching/overwritten-and-invisible"
    assert judged.counterexample("MATCH-2").case.arguments["iou"].shape == (2, 1)


def test_the_assigner_of_mmdet(libraries):
    """The same with boxes; ignore regions come first, and a threshold of 0 is off; half precision overflows."""
    judged = libraries.judge("mmdet", "max_iou_assignment", {"ASG-2", "ASG-3", "ASG-8", "ASG-9", "ASG-16"})

    assert judged.wrong == {"ASG-2", "ASG-3", "ASG-8", "ASG-9", "ASG-16"}
    assert {name: judged[name].diagnosis.partition("/")[2] for name in judged.wrong} == {
        "ASG-2": "overwritten-target",
        "ASG-3": "overwritten-and-invisible",
        "ASG-8": "zero-is-off",
        "ASG-9": judged["ASG-9"].diagnosis.partition("/")[2],
        "ASG-16": "half-arithmetic",
    }
    assert judged["ASG-9"].diagnosis in ("assignment/regions-first", "assignment/invisible-and-regions-first")
