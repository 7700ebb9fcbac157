"""Boxes, anchors and matchers of real libraries: what is wrong in them is found and explained, the rest conforms."""

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


def judge(library, technique, tmp_path):
    """The requirements that do not pass and are binding, and all of them by id."""
    if importlib.util.find_spec(library) is None:
        if os.environ.get("CI"):
            pytest.fail(f"{library} is missing: pip install --no-deps -r conformance/tests/requirements-peers.txt")
        pytest.skip(f"{library} is not installed")
    (judged,) = check(library, techniques=[technique], profile="quick", cases=tmp_path).techniques
    found = {requirement.id: requirement for requirement in judged.requirements}
    wrong = {f.id for f in found.values() if f.status not in ("pass", "warn", "skip") and f.level in ("MUST", "SHOULD")}
    assert not [f.id for f in found.values() if f.status == "fixed"]
    assert all(found[name].status == "known" for name in wrong), "a deviation that the adapter does not know"
    return wrong, found


def small(requirement):
    """Arguments of the counterexample."""
    return read_case(Path(requirement.case)).case.arguments


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
def test_no_false_alarm(library, technique, tmp_path):
    """Every MUST and SHOULD holds."""
    wrong, _ = judge(library, technique, tmp_path)

    assert wrong == set()


def test_the_overlap_of_a_point_with_itself_is_nan_in_torchvision(tmp_path):
    """0/0, on one point and itself; nothing else is wrong."""
    wrong, found = judge("torchvision", "pairwise_iou", tmp_path)

    assert wrong == {"IOU-3"}
    assert found["IOU-3"].diagnosis == "iou/zero-by-zero"
    assert "got nan, expected 0" in found["IOU-3"].message
    one, other = small(found["IOU-3"]).values()
    assert one.tolist() == other.tolist() == [[0.0, 0.0, 0.0, 0.0]]


@pytest.mark.parametrize("technique", ["pairwise_iou", "aligned_iou", "pairwise_intersection_over_area"])
def test_mmdet_clamps_small_unions_and_overflows_in_half_precision(technique, tmp_path):
    """Boxes of a side of 5e-4 have an overlap of 0.24 with themselves, boxes of 256 pixels NaN in float16."""
    wrong, found = judge("mmdet", technique, tmp_path)

    small_boxes, half = sorted(wrong, key=lambda name: int(name.partition("-")[2]))
    assert {found[small_boxes].kind, found[half].kind} == {"extreme and low precision"}
    assert found[small_boxes].diagnosis.rpartition("/")[2] in ("clamped-union", "clamped-area")
    assert found[half].diagnosis.rpartition("/")[2] in ("half-arithmetic", "half-and-clamped")
    assert "got nan, expected 1" in found[half].message


def test_generalised_overlaps_of_both(tmp_path):
    """0/0 in torchvision, areas of at least 1e-6 in mmdet, and the product of negative sides in both."""
    wrong, found = judge("torchvision", "pairwise_giou", tmp_path)
    wrong_in_mmdet, found_in_mmdet = judge("mmdet", "pairwise_giou", tmp_path)

    assert wrong == {"GIOU-3", "GIOU-5"}
    assert found["GIOU-3"].diagnosis == "giou/zero-by-zero"
    assert found["GIOU-5"].diagnosis == "giou/negative-sides-by-zero"
    assert wrong_in_mmdet == {"GIOU-3", "GIOU-5", "GIOU-6", "GIOU-7"}
    assert found_in_mmdet["GIOU-6"].diagnosis == "giou/clamped-union"


def test_the_area_of_an_inverted_box_in_torchvision(tmp_path):
    """Two negative sides multiply to something positive."""
    wrong, found = judge("torchvision", "box_area", tmp_path)

    assert wrong == {"AREA-3"}
    assert found["AREA-3"].diagnosis == "area/negative-sides"


def test_torchvision_rounds_the_anchors_of_a_cell(tmp_path):
    """Size 32 and ratio 1/2: -23 in place of -22.627."""
    wrong, found = judge("torchvision", "cell_anchors", tmp_path)

    assert wrong == {"CELL-1", "CELL-2", "CELL-3", "CELL-5"}
    assert found["CELL-1"].diagnosis == "cell/rounded"
    assert "got -23, expected -22.627417" in found["CELL-1"].message
    np.testing.assert_equal(small(found["CELL-1"]), {"sizes": np.array([32.0]), "ratios": np.array([0.5])})


def test_the_anchors_of_torchvisions_retinanet(tmp_path):
    """Whole sizes, rounded sides, and strides that a division gives."""
    wrong, found = judge("torchvision", "retinanet_anchors", tmp_path)

    assert wrong == {"RETINA-1"}
    assert found["RETINA-1"].diagnosis == "retinanet/rounded-and-divided"


def test_an_anchor_on_the_border_is_outside_in_mmdet(tmp_path):
    """A strict comparison, from the time of inclusive pixels."""
    wrong, found = judge("mmdet", "inside_image", tmp_path)

    assert wrong == {"INSIDE-1", "INSIDE-2", "INSIDE-5"}
    assert {found[name].diagnosis for name in wrong} == {"inside/below-the-border"}


def test_an_object_that_overlaps_nothing_claims_candidates_in_torchvision(tmp_path):
    """All of IoU 0 with `Matcher`, the first one with `SSDMatcher`; both raise without objects."""
    wrong, found = judge("torchvision", "max_iou_matching", tmp_path)

    assert wrong == {"MATCH-3", "MATCH-9", "MATCH-10"}
    assert found["MATCH-3"].diagnosis == "matching/invisible-claims"
    assert small(found["MATCH-3"])["iou"].tolist() == [[0.0]]
    assert found["MATCH-8"].diagnosis == "matching/best-by-argmax"
    assert "No ground-truth boxes" in found["MATCH-9"].message


def test_the_low_quality_rule_of_mmdet(tmp_path):
    """The last object that claims a candidate gets it, and one that overlaps nothing claims all."""
    wrong, found = judge("mmdet", "max_iou_matching", tmp_path)

    assert wrong == {"MATCH-2", "MATCH-3"}
    assert found["MATCH-2"].diagnosis == "matching/overwritten-target"
    assert found["MATCH-3"].diagnosis == "matching/overwritten-and-invisible"
    assert small(found["MATCH-2"])["iou"].shape == (2, 1)


def test_the_assigner_of_mmdet(tmp_path):
    """The same with boxes; ignore regions come first, and a threshold of 0 is off; half precision overflows."""
    wrong, found = judge("mmdet", "max_iou_assignment", tmp_path)

    assert wrong == {"ASG-2", "ASG-3", "ASG-8", "ASG-9", "ASG-16"}
    assert {name: found[name].diagnosis.partition("/")[2] for name in wrong} == {
        "ASG-2": "overwritten-target",
        "ASG-3": "overwritten-and-invisible",
        "ASG-8": "zero-is-off",
        "ASG-9": found["ASG-9"].diagnosis.partition("/")[2],
        "ASG-16": "half-arithmetic",
    }
    assert found["ASG-9"].diagnosis in ("assignment/regions-first", "assignment/invisible-and-regions-first")
