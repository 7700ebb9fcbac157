"""Contracts of the max-IoU assignment: which candidates are foreground, background or ignored, and of which object.

Ren et al., "Faster R-CNN", NIPS 2015 (arXiv 1506.01497), section 3.1.2; Lin et al., "Focal Loss for Dense Object
Detection", ICCV 2017 (arXiv 1708.02002), section 4.
"""

from __future__ import annotations

from dataclasses import replace

import numpy as np

from steelyard.conformance.checking import (
    Bench,
    bad_option,
    bad_shape,
    leaving_out,
    purity,
    refuses,
    same_as,
    sending,
    value,
)
from steelyard.conformance.contract import (
    Argument,
    Array,
    Case,
    Check,
    Generator,
    Kind,
    Level,
    Option,
    Output,
    Requirement,
    Ruling,
    Technique,
)
from steelyard.conformance.detection import assignment_inputs as given
from steelyard.conformance.detection.assignment_mutants import ASSIGNMENT_MUTANTS, MATCHING_MUTANTS
from steelyard.conformance.detection.box_inputs import box_argument
from steelyard.conformance.soft_sampling.focal_inputs import FULL, HALF
from steelyard.reference.detection import assignment as oracle

_FOREGROUND, _STATE, _LABELS = 1, "state", "labels"

# --- laws -----------------------------------------------------------------------------------------------------


def what_counts(bench: Bench, case: Case) -> None:
    """The states and labels, and the objects of the foreground: the rest has no object to learn."""
    answer, expected = bench.evaluate(case), bench.oracle(case)
    outputs = [output.name for output in bench.technique.outputs]
    for name in (_STATE, _LABELS):
        if name in outputs:
            n = outputs.index(name)
            bench.expect_close(case, answer.outputs[n], expected[n], None, case.dtype, name)
    foreground = expected[outputs.index(_STATE)] == _FOREGROUND
    matched, wanted = (np.where(foreground, objects[0], 0) for objects in (answer.outputs, expected))
    bench.expect_close(case, matched, wanted, None, case.dtype, "matched_gt of the foreground")


def every_visible_object_has_foreground(bench: Bench, case: Case) -> None:
    """With the low-quality rule all best candidates of an object that overlaps anything are foreground."""
    state = bench.evaluate(case).outputs[[o.name for o in bench.technique.outputs].index(_STATE)]
    iou = given.table_of(case)
    best = (iou == iou.max(axis=1, keepdims=True, initial=0.0)) & (iou > 0)
    claimed = best.any(axis=0)
    bench.expect(bool((state[claimed] == _FOREGROUND).all()), "the best candidate of an object is not foreground", case)


def _reversed_candidates(case: Case) -> Case:
    if "iou" in case.arguments:
        return case.with_arguments(iou=case.arguments["iou"][:, ::-1].copy())
    names = ("boxes", "candidate_mask")
    return case.with_arguments(**{name: case.arguments[name][::-1].copy() for name in names})


def _stretched(case: Case) -> Case:
    """A picture twice as wide and four times as high, which leaves every IoU as it is, to the last bit."""
    names = ("boxes", "gt_boxes", "ignore_regions")
    return case.with_arguments(**{n: case.arguments[n] * np.array([2.0, 4.0, 2.0, 4.0]) for n in names})


_REORDERED = same_as(_reversed_candidates, "candidates in the other order", lambda output, _: output[::-1])


def _unit_interval(values: Array, case: Case) -> Array:
    return np.clip(values, 0.0, 1.0)


def _numbered(prefix: str, *requirements: Requirement) -> tuple[Requirement, ...]:
    return tuple(replace(r, id=f"{prefix}-{number}") for number, r in enumerate(requirements, start=1))


def _must(kind: Kind, text: str, source: str, inputs: Generator, check: Check = what_counts) -> Requirement:
    return Requirement("", Level.MUST, kind, text, source, check, inputs, dtypes=FULL)


# --- contracts ------------------------------------------------------------------------------------------------

_RPN, _RETINANET = "Faster R-CNN, section 3.1.2", "RetinaNet, section 4"
_SOURCES = (
    'Ren et al., "Faster R-CNN", NIPS 2015, arXiv 1506.01497, section 3.1.2',
    'Lin et al., "Focal Loss for Dense Object Detection", ICCV 2017, arXiv 1708.02002, section 4',
)
_IMPLIED = "implied by {}; kept because a failure then names the law that is broken"
_RULE_OPTIONS = (
    Option("foreground_iou", 0.5, "from this IoU on a candidate is foreground"),
    Option("background_iou", 0.4, "below this IoU a candidate is background"),
    Option("low_quality", None, "whether the best candidates of an object are foreground, whatever their IoU: None, "
           "'keep' their own best object, or 'overwrite_last' it"),
    Option("minimum_low_quality_iou", 0.0, "least IoU for that"),
)  # fmt: skip
_OUTPUTS = (
    Output("matched_gt", ("N",), "int", "row of the object that a candidate overlaps most"),
    Output("max_iou", ("N",), "float", "its IoU"),
    Output("state", ("N",), "int", "1 foreground, 0 background, -1 ignored"),
)
_BAD_RULE = refuses(
    bad_option("foreground_iou", 1.5), bad_option("background_iou", 0.95), bad_option("background_iou", -0.5)
)
_RULINGS = (
    Ruling("thresholds", "At the upper threshold a candidate is foreground; at the lower one it is not background."),
    Ruling("ties", "Of several best objects the first; of several best candidates all; equality is exact."),
    Ruling("invisible", "An object that overlaps no candidate claims none, whatever the least IoU is."),
    Ruling("own-object", "A candidate that an object claims keeps the object that it overlaps most itself."),
    Ruling("low-quality-wins", "What an object claims is foreground, also below the lower threshold."),
    Ruling("no-objects", "Without objects every candidate is background."),
)
_NOT_APPLICABLE = {
    Kind.GRADIENT: "a choice has no gradient", Kind.DETACHED: "a choice has no gradient",
    Kind.LIMIT: "no limit", Kind.BOUND: "states and labels are discrete", Kind.DISTRIBUTION: "not random",
    Kind.REDUCES_TO: "without the low-quality rule it is two thresholds, which the first requirement checks",
}  # fmt: skip

MAX_IOU_MATCHING = Technique(
    id="max_iou_matching",
    title="Max-IoU matching",
    family="detection",
    summary="Foreground, background and ignored candidates by two thresholds, and the best candidates of each object.",
    sources=_SOURCES,
    oracle=oracle.max_iou_matching,
    arguments=(
        Argument("iou", ("M", "N"), "float", "of M objects and N candidates, in [0, 1]", domain=_unit_interval),
        Argument("gt_mask", ("M",), "bool", "False for rows that hold no object", optional=True),
        Argument("candidate_mask", ("N",), "bool", "False for candidates out of play", optional=True),
    ),
    options=_RULE_OPTIONS,
    outputs=_OUTPUTS,
    requirements=_numbered(
        "MATCH",
        replace(_must(Kind.VALUE, "Candidates are foreground, background or ignored by their best IoU.", _RETINANET,
                      given.table), scenes=(given.crowded_table,)),
        replace(_must(Kind.VALUE, "With the low-quality rule the best candidate of each object is foreground, and "
                      "keeps its own best object.", _RPN + " (i); ruling own-object", given.table_with_rule),
                options=("low_quality",),
                reaches={"a claim below the lower threshold": given.a_claim_below,
                         "a claimed candidate that overlaps another object more": given.a_shared_best},
                no_mutant="every further requirement with the low-quality rule sees a wrong one too"),
        replace(_must(Kind.EMPTY, "An object that overlaps nothing claims nothing.", "ruling invisible",
                      given.invisible), options=("low_quality",),
                no_mutant="MATCH-8 has such objects too; it is not binding"),
        _must(Kind.TIES, "Of several best objects the first counts.", "ruling ties", given.tied_objects),
        replace(_must(Kind.TIES, "Of several best candidates of an object all are foreground.", _RPN + " (i)",
                      given.tied_candidates), options=("low_quality",)),
        _must(Kind.TIES, "The upper threshold belongs to the foreground, the lower one not to the background.",
              "ruling thresholds", given.on_thresholds),
        replace(_must(Kind.TIES, "Objects whose best IoU is below the least one claim nothing.", "mmdet, min_pos_iou",
                      given.with_minimum), options=("low_quality", "minimum_low_quality_iou")),
        replace(_must(Kind.VALUE, "With overwrite_last a claimed candidate goes to the last object that claims it.",
                      "mmdet", given.table_with_overwriting), level=Level.MAY, options=("low_quality",)),
        replace(_must(Kind.EMPTY, "Without objects every candidate is background.", "ruling no-objects",
                      given.no_objects), examples=0.2),
        replace(_must(Kind.EMPTY, "No candidates give an empty answer.", "house rule", given.no_candidates),
                level=Level.SHOULD, examples=0.2),
        replace(_must(Kind.VALUE, "Every candidate has its best object and IoU, also if it is not foreground.",
                      "house rule", given.full_table, value), level=Level.SHOULD, examples=0.5),
        replace(_must(Kind.CONSERVATION, "Every object that overlaps a candidate has foreground.", _RPN,
                      given.table_with_rule, every_visible_object_has_foreground), options=("low_quality",),
                examples=0.3, no_mutant=_IMPLIED.format("MATCH-2")),
        replace(_must(Kind.INVARIANCE, "Reordering the candidates reorders the answer.", "house rule",
                      given.table_with_rule, _REORDERED), examples=0.3, no_mutant=_IMPLIED.format("MATCH-2")),
        replace(_must(Kind.EXTREME, "Half-precision IoUs are compared with the thresholds as they are.", "house rule",
                      given.table), level=Level.SHOULD, dtypes=HALF, examples=0.5),
        replace(_must(Kind.PURITY, "The input is not written to, and equal calls give equal answers.", "house rule",
                      given.table_with_rule, purity), examples=0.3),
        replace(_must(Kind.ERROR, "Thresholds outside [0, 1], and a lower one above the upper one, are refused.",
                      "house rule", given.table, _BAD_RULE), level=Level.MAY, examples=0.2),
        replace(_must(Kind.VALUE, "Rows that hold no object count for nothing; candidates out of play are ignored, and "
                      "are the best of no object.", "Faster R-CNN, section 3.3", given.masked_table,
                      sending("gt_mask", "candidate_mask")), level=Level.SHOULD, options=("low_quality",)),
    ),
    mutants=MATCHING_MUTANTS,
    rulings=_RULINGS,
    not_applicable=_NOT_APPLICABLE | {Kind.BATCH: "the candidates of one image; max_iou_assignment has padding"},
)  # fmt: skip

MAX_IOU_ASSIGNMENT = Technique(
    id="max_iou_assignment",
    title="Max-IoU assignment",
    family="detection",
    summary="Labels of the candidate boxes of an image by its objects: matching, padding, candidates out of play, "
            "ignore regions.",
    sources=_SOURCES,
    oracle=oracle.max_iou_assignment,
    arguments=(
        box_argument("boxes", "N", "candidates"),
        box_argument("gt_boxes", "M", "objects"),
        Argument("gt_labels", ("M",), "int", "0..C-1; -1 for a row that holds no object"),
        Argument("candidate_mask", ("N",), "bool", "False for candidates out of play"),
        box_argument("ignore_regions", "R", "crowds"),
    ),
    options=(
        Option("num_classes", 80, "C"), *_RULE_OPTIONS,
        Option("ignore_threshold", 0.5, "a candidate of which more than this share lies in a region is ignored"),
    ),
    outputs=(*_OUTPUTS, Output("labels", ("N",), "int", "0..C-1 foreground, C background, -1 ignored")),
    requirements=_numbered(
        "ASG",
        replace(_must(Kind.VALUE, "A candidate has the class of the object that it overlaps most, C, or -1.",
                      _RETINANET, given.image), scenes=(given.crowd,)),
        replace(_must(Kind.VALUE, "With the low-quality rule the best candidates of each object whose best IoU is not "
                      "below the least one have a class, that of their own best object.",
                      _RPN + " (i); ruling own-object", given.image_with_minimum), options=("low_quality",),
                reaches={"a claim below the lower threshold": given.a_claim_below,
                         "a claimed candidate that overlaps another object more": given.a_shared_best}),
        replace(_must(Kind.EMPTY, "An object without area, or far from every candidate, claims nothing.",
                      "ruling invisible", given.image_with_points), options=("low_quality",), examples=0.5),
        replace(_must(Kind.TIES, "The upper threshold belongs to the foreground, the lower one not to the background.",
                      "ruling thresholds", given.image_on_thresholds), examples=0.5,
                no_mutant="boxes on whole pixels reach thresholds by chance elsewhere; here every one may"),
        replace(_must(Kind.BATCH, "Rows of label -1 are no objects, wherever they stand.", "padding",
                      given.image_with_padding), examples=0.5),
        replace(_must(Kind.VALUE, "Candidates out of play are ignored, and are the best of no object.",
                      "Faster R-CNN, section 3.3", given.image_with_mask), examples=0.5),
        replace(_must(Kind.TIES, "A candidate of which more than the threshold lies in one region is ignored.",
                      "mmdet, ignore_iof_thr", given.image_with_regions), options=("ignore_threshold",), examples=0.5,
                reaches={"a share at the threshold": given.a_share_at_the_threshold}),
        replace(_must(Kind.TIES, "At a threshold of 0 a candidate that overlaps a region at all is ignored.",
                      "ruling off-is-none", given.image_with_regions_at_zero), level=Level.SHOULD,
                options=("ignore_threshold",), examples=0.3),
        replace(_must(Kind.VALUE, "An object whose best candidate is ignored claims no other.", "ruling regions-last",
                      given.image_with_rule_and_regions), level=Level.SHOULD,
                options=("low_quality", "ignore_threshold"), examples=0.5),
        replace(_must(Kind.EMPTY, "Without objects every candidate is background.", "ruling no-objects",
                      given.image_without_objects), examples=0.2),
        replace(_must(Kind.EMPTY, "No candidates give an empty answer.", "house rule", given.image_without_candidates),
                examples=0.2),
        replace(_must(Kind.VALUE, "Every candidate has its best object and IoU, also if it is not foreground.",
                      "house rule", given.image, value), level=Level.SHOULD, examples=0.5),
        replace(_must(Kind.CONSERVATION, "Every object that overlaps a candidate has foreground.", _RPN,
                      given.image_with_rule, every_visible_object_has_foreground), options=("low_quality",),
                examples=0.3, no_mutant=_IMPLIED.format("ASG-2")),
        replace(_must(Kind.INVARIANCE, "Reordering the candidates reorders the answer.", "house rule",
                      given.image_with_rule, _REORDERED), examples=0.3, no_mutant=_IMPLIED.format("ASG-2")),
        replace(_must(Kind.INVARIANCE, "A stretched picture has the same labels.", "IoU has no unit",
                      given.image_with_regions, same_as(_stretched, "labels of the stretched picture")),
                examples=0.3, no_mutant=_IMPLIED.format("ASG-7")),
        replace(_must(Kind.EXTREME, "Half-precision boxes have the labels of float32.", "house rule",
                      given.large_image), level=Level.SHOULD, dtypes=HALF, examples=0.5),
        replace(_must(Kind.PURITY, "The inputs are not written to, and equal calls give equal answers.", "house rule",
                      given.image_with_rule, purity), examples=0.3),
        replace(_must(Kind.ERROR, "Labels of another number than the objects are refused.", "house rule",
                      given.image, refuses(bad_shape("gt_labels"))), level=Level.SHOULD, examples=0.2),
        replace(_must(Kind.ERROR, "Thresholds outside [0, 1], and a lower one above the upper one, are refused.",
                      "house rule", given.image, _BAD_RULE), level=Level.MAY, examples=0.2),
        replace(_must(Kind.EMPTY, "Without a mask all candidates are in play; without regions none is in one.",
                      "ruling off-is-none", given.image_with_mask_and_regions, leaving_out(
                          "candidate_mask", "ignore_regions", judged_by=what_counts, ignore_threshold=None)),
                level=Level.SHOULD, options=("ignore_threshold",), examples=0.2),
    ),
    mutants=ASSIGNMENT_MUTANTS,
    rulings=(
        *_RULINGS,
        Ruling("off-is-none", "A threshold of 0 is a threshold; no regions, or None, mean off."),
        Ruling("regions-last", "Regions come after the matching: an ignored candidate remains the best one of its "
               "object. mmdet takes it out before, so that the object claims its next best candidate."),
    ),
    not_applicable=_NOT_APPLICABLE,
)  # fmt: skip
