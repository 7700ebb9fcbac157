"""IoUs and boxes for the contracts of the assignment.

What is decided is exact: tables hold multiples of 1/64, boxes lie on whole pixels, so that a correctly rounded IoU is
on a threshold, or equal to another one, in every format or in none. (Anchors as detectors make them have IoUs that are
equal on paper and differ in their last bit; which one is larger then depends on the format.)
"""

from __future__ import annotations

import numpy as np

from steelyard.conformance.contract import Array, Case, OptionValue
from steelyard.conformance.detection.box_inputs import draw_boxes
from steelyard.conformance.generation import Draw
from steelyard.reference.detection.box_overlaps import pairwise_intersection_over_area, pairwise_iou

CLASSES = 3
_THRESHOLDS = ((0.5, 0.4), (0.7, 0.3), (0.5, 0.5))
_EXACT_THRESHOLDS = ((0.5, 0.375), (0.6875, 0.3125), (0.5, 0.5))
"""For IoUs that may be on a threshold: 7/10 in float32 is less than 0.7 in float64."""
_STEPS = 64


def _rule(
    draw: Draw,
    low_quality: str | None = None,
    thresholds: tuple[tuple[float, float], ...] = _THRESHOLDS,
    **changed: OptionValue,
) -> dict[str, OptionValue]:
    high, low = draw.choice(thresholds)
    rule: dict[str, OptionValue] = {"foreground_iou": high, "background_iou": low, "low_quality": low_quality}
    return {**rule, "minimum_low_quality_iou": 0.0, **changed}


# --- tables of IoUs -------------------------------------------------------------------------------------------


def _distinct(draw: Draw, *, hidden_percent: int = 30) -> Array:
    """One to four objects, one to six candidates, no two IoUs equal but 0, every object visible."""
    shape = (draw.integer(1, 4), draw.integer(1, 6))
    size = shape[0] * shape[1]
    order = np.argsort(draw.array((size,), draw.fraction), kind="stable")
    table = (order.argsort() + 1.0).reshape(shape) * (_STEPS // size) / _STEPS
    hidden = draw.array(shape, lambda: float(draw.flag(hidden_percent))) == 1
    hidden &= ~hidden.all(axis=1, keepdims=True)
    return np.where(hidden, 0.0, table)


def table(draw: Draw) -> Case:
    """Without the low-quality rule."""
    return Case({"iou": _distinct(draw)}, _rule(draw), draw.dtype())


def full_table(draw: Draw) -> Case:
    """Every candidate overlaps every object."""
    return Case({"iou": _distinct(draw, hidden_percent=0)}, _rule(draw), draw.dtype())


def table_with_rule(draw: Draw) -> Case:
    """With it."""
    return Case({"iou": _distinct(draw)}, _rule(draw, "keep"), draw.dtype())


def table_with_overwriting(draw: Draw) -> Case:
    """With it, the last claim counting; sometimes an object that overlaps nothing."""
    iou = _distinct(draw)
    if draw.flag():
        iou[draw.integer(0, len(iou) - 1)] = 0.0
    return Case({"iou": iou}, _rule(draw, "overwrite_last"), draw.dtype())


def masked_table(draw: Draw) -> Case:
    """Rows that hold no object, candidates out of play, with the rule and without; sometimes no row, or no object."""
    iou = _distinct(draw)
    iou = iou[: draw.choice((len(iou), len(iou), len(iou), 0))]
    masks = {"gt_mask": np.array([draw.flag(70) for _ in range(iou.shape[0])], dtype=np.bool_),
             "candidate_mask": np.array([draw.flag(70) for _ in range(iou.shape[1])], dtype=np.bool_)}  # fmt: skip
    return Case({"iou": iou, **masks}, _rule(draw, draw.choice(("keep", None))), draw.dtype())


def invisible(draw: Draw) -> Case:
    """Objects that overlap nothing."""
    iou = _distinct(draw)
    iou[draw.integer(0, len(iou) - 1)] = 0.0
    return Case({"iou": iou}, _rule(draw, "keep"), draw.dtype())


def _tied(draw: Draw) -> Array:
    iou = draw.array(draw.shape(2, high=5), lambda: draw.choice((0.5, 0.75, 0.25, 0.0)))
    iou[~iou.any(axis=1), 0] = 0.25
    return iou


def tied_objects(draw: Draw) -> Case:
    """Candidates with several best objects."""
    return Case({"iou": _tied(draw)}, _rule(draw), draw.dtype())


def tied_candidates(draw: Draw) -> Case:
    """An object with several best candidates."""
    iou = draw.array((1, draw.integer(1, 5)), lambda: draw.choice((0.25, 0.125, 0.3125, 0.0)))
    iou[0, 0] = 0.25
    return Case({"iou": iou}, _rule(draw, "keep"), draw.dtype())


def on_thresholds(draw: Draw) -> Case:
    """IoUs equal to a threshold; thresholds at the ends, as integers."""
    high, low = draw.choice(((0.75, 0.25), (0.5, 0.5), (1, 1), (1, 0), (0.5, 0.25)))
    iou = draw.array((1, draw.integer(1, 4)), lambda: draw.choice((0.5, 0.75, 0.25, 0.0, 1.0, 0.625)))
    return Case({"iou": iou}, _rule(draw, foreground_iou=high, background_iou=low), draw.dtype())


def with_minimum(draw: Draw) -> Case:
    """An object whose best IoU is below, at or above the least one of the low-quality rule."""
    iou = draw.choice(((0.25,), (0.125, 0.25), (0.375, 0.0, 0.125), (0.125,), (0.0, 0.25, 0.125)))
    return Case(
        {"iou": np.array([iou])}, _rule(draw, "keep", minimum_low_quality_iou=draw.choice((0.25, 0.375))), draw.dtype()
    )


def no_objects(draw: Draw) -> Case:
    """No object; sometimes a lower threshold that no IoU is below."""
    iou = np.zeros((0, draw.integer(1, 4)))
    return Case({"iou": iou}, _rule(draw, draw.choice((None, "keep")), ((0.5, 0.4), (0.5, 0.0))), draw.dtype())


def no_candidates(draw: Draw) -> Case:
    """No candidate."""
    iou = np.zeros((draw.integer(0, 3), 0))
    return Case({"iou": iou}, _rule(draw, draw.choice((None, "keep"))), draw.dtype())


def crowded_table(seed: int) -> Case:
    """Sixty objects, of which a few are near a candidate, and five thousand candidates."""
    random = np.random.default_rng(seed)
    iou = np.maximum(random.uniform(-9.0, 1.0, (60, 5000)), 0.0).astype(np.float32).astype(np.float64)
    rule = {"foreground_iou": 0.5, "background_iou": 0.4, "low_quality": None, "minimum_low_quality_iou": 0.0}
    return Case({"iou": iou}, rule, "float32", origin=f"crowd {seed}")


# --- boxes ----------------------------------------------------------------------------------------------------


def _image(draw: Draw, low_quality: str | None = None, *, objects: int = 3) -> Case:
    """Candidates near objects that are near each other; no padding, all in play, no region."""
    gt = draw_boxes(draw, draw.integer(1, objects), corners=5, sides=(4, 3, 5, 8))
    number = draw.integer(1, 6)
    near = gt[draw.integers((number,), 0, len(gt) - 1)]
    boxes = near + draw.array((number, 4), lambda: draw.choice((0.0, 0.0, 1.0, -1.0, 2.0, -4.0)))
    boxes[:, 2:] = np.maximum(boxes[:, 2:], boxes[:, :2] + 1.0)
    boxes[-1] = boxes[draw.choice((-1, 0))]  # two equally good candidates
    arguments: dict[str, Array] = {
        "boxes": boxes,
        "gt_boxes": gt,
        "gt_labels": draw.integers((len(gt),), 0, CLASSES - 1),
        "candidate_mask": np.ones(number, dtype=np.bool_),
        "ignore_regions": np.zeros((0, 4)),
    }
    rule = _rule(draw, low_quality, _EXACT_THRESHOLDS)
    return Case(arguments, {"num_classes": CLASSES, **rule, "ignore_threshold": 0.5}, draw.dtype())


def _visible(case: Case) -> Case:
    """Every object that overlaps nothing gets a candidate."""
    gt, boxes = case.arguments["gt_boxes"], case.arguments["boxes"]
    lonely = ~pairwise_iou(gt, boxes).any(axis=1)
    boxes = np.concatenate([boxes, gt[lonely] + np.array([0.0, 0.0, 9.0, 9.0])])
    return case.with_arguments(boxes=boxes, candidate_mask=np.ones(len(boxes), dtype=np.bool_))


def image(draw: Draw) -> Case:
    """Without the low-quality rule."""
    return _image(draw)


def image_with_rule(draw: Draw) -> Case:
    """With it; every object overlaps some candidate."""
    return _visible(_image(draw, "keep"))


def image_with_minimum(draw: Draw) -> Case:
    """With it, sometimes only for objects whose best IoU is a quarter or a half at least."""
    return image_with_rule(draw).with_options(minimum_low_quality_iou=draw.choice((0.0, 0.25, 0.5)))


def image_with_points(draw: Draw) -> Case:
    """Objects without area, and far from every candidate."""
    case = _image(draw, "keep")
    gt = case.arguments["gt_boxes"].copy()
    if draw.flag():
        gt[0, 2:] = gt[0, :2]
    else:
        gt[0] += 100.0
    return case.with_arguments(gt_boxes=gt)


def image_on_thresholds(draw: Draw) -> Case:
    """A box of eight by eight, and candidates of so many eighths of it."""
    eighths = draw.array((draw.integer(1, 4),), lambda: float(draw.choice((4, 3, 6, 2, 5))))
    boxes = np.zeros((len(eighths), 4))
    boxes[:, 2], boxes[:, 3] = eighths, 8.0
    case = _image(draw)
    high, low = draw.choice(((0.5, 0.375), (0.75, 0.25), (0.625, 0.5)))
    return case.with_arguments(
        boxes=boxes, gt_boxes=np.array([[0.0, 0.0, 8.0, 8.0]]), gt_labels=case.arguments["gt_labels"][:1],
        candidate_mask=np.ones(len(boxes), dtype=np.bool_),
    ).with_options(foreground_iou=high, background_iou=low)  # fmt: skip


def image_with_padding(draw: Draw) -> Case:
    """Rows of padding before, between and after the objects, which hold boxes of candidates; or nothing else."""
    case = _image(draw)
    gt, labels = case.arguments["gt_boxes"], case.arguments["gt_labels"]
    padding = case.arguments["boxes"][draw.integers((draw.integer(1, 3),), 0, len(case.arguments["boxes"]) - 1)]
    gt, labels = np.concatenate([padding, gt]), np.concatenate([np.full(len(padding), -1), labels])
    if draw.flag(20):
        labels = np.full(len(labels), -1)
    order = np.argsort(draw.array((len(gt),), draw.fraction), kind="stable")
    return case.with_arguments(gt_boxes=gt[order], gt_labels=labels[order])


def image_with_mask(draw: Draw) -> Case:
    """One object; some candidates out of play, as anchors that cross the border of the image are."""
    case = _visible(_image(draw, draw.choice(("keep", None)), objects=1))
    number = len(case.arguments["boxes"])
    mask = draw.array((number,), lambda: float(draw.flag(60))) == 1
    mask |= ~pairwise_iou(case.arguments["gt_boxes"], case.arguments["boxes"][mask]).any(axis=1).all()
    return case.with_arguments(candidate_mask=mask)


def _with_regions(draw: Draw, case: Case) -> Case:
    boxes = case.arguments["boxes"]
    regions = boxes[draw.integers((draw.integer(1, 3),), 0, len(boxes) - 1)].copy()
    regions[:, 2:] += draw.array((len(regions), 2), lambda: draw.choice((0.0, 4.0, -1.0)))
    regions[:, 2:] = np.maximum(regions[:, 2:], regions[:, :2])
    threshold = draw.choice((0.5, 0.25, 0.75))
    return case.with_arguments(ignore_regions=regions).with_options(ignore_threshold=threshold)


def image_with_regions(draw: Draw) -> Case:
    """Crowds that lie over candidates, wholly, by half, or hardly."""
    return _with_regions(draw, _image(draw))


def image_with_regions_at_zero(draw: Draw) -> Case:
    """Any share is too much; some candidates have none."""
    return _with_regions(draw, _image(draw)).with_options(ignore_threshold=0.0)


def image_with_rule_and_regions(draw: Draw) -> Case:
    """One object, and crowds over its best candidates; no share is at the threshold."""
    case = _with_regions(draw, _visible(_image(draw, "keep", objects=1)))
    return case.with_options(ignore_threshold=33 / 64)


def image_with_mask_and_regions(draw: Draw) -> Case:
    """Some candidates out of play, and crowds over others."""
    return _with_regions(draw, image_with_mask(draw))


def image_without_objects(draw: Draw) -> Case:
    """No object; or nothing at all but candidates."""
    case = _image(draw, draw.choice((None, "keep")))
    return case.with_arguments(gt_boxes=np.zeros((0, 4)), gt_labels=np.zeros(0, dtype=np.int64))


def image_without_candidates(draw: Draw) -> Case:
    """No candidate."""
    case = _image(draw, draw.choice((None, "keep")))
    return case.with_arguments(boxes=np.zeros((0, 4)), candidate_mask=np.zeros(0, dtype=np.bool_))


def large_image(draw: Draw) -> Case:
    """Boxes whose area float16 does not hold."""
    case = _image(draw)
    return case.with_arguments(**{name: 64.0 * case.arguments[name] for name in ("boxes", "gt_boxes")})


def crowd(seed: int) -> Case:
    """Objects and candidates on whole pixels, more of both than one piece of work holds."""
    random = np.random.default_rng(seed)
    objects, candidates = 36, 4400
    corner = random.integers(0, 400, (objects, 2))
    gt = np.concatenate([corner, corner + random.integers(8, 120, (objects, 2))], axis=1).astype(np.float64)
    away = random.integers(-6, 7, (candidates, 4)) * random.integers(0, 6, (candidates, 1))
    boxes = gt[random.integers(0, objects, candidates)] + away
    boxes[:, 2:] = np.maximum(boxes[:, 2:], boxes[:, :2] + 1.0)
    arguments: dict[str, Array] = {
        "boxes": boxes, "gt_boxes": gt, "gt_labels": random.integers(0, CLASSES, objects),
        "candidate_mask": np.ones(len(boxes), dtype=np.bool_), "ignore_regions": np.zeros((0, 4)),
    }  # fmt: skip
    options: dict[str, OptionValue] = {
        "num_classes": CLASSES, "foreground_iou": 0.5, "background_iou": 0.375, "low_quality": None,
        "minimum_low_quality_iou": 0.0, "ignore_threshold": 0.5,
    }  # fmt: skip
    return Case(arguments, options, "float32", origin=f"crowd {seed}")


# --- hard places ----------------------------------------------------------------------------------------------


def a_claim_below(case: Case) -> bool:
    """The best candidate of an object is below the lower threshold."""
    iou = table_of(case)
    return bool((iou.max(axis=1, initial=0.0) < float(case.options["background_iou"] or 0.0)).any())


def a_shared_best(case: Case) -> bool:
    """The best candidate of an object overlaps another object more."""
    iou = table_of(case)
    best = iou == iou.max(axis=1, keepdims=True, initial=0.0)
    return bool((best & (iou < iou.max(axis=0, initial=0.0)) & (iou > 0)).any())


def a_share_at_the_threshold(case: Case) -> bool:
    """A candidate lies in a region by exactly the threshold."""
    share = pairwise_intersection_over_area(case.arguments["boxes"], case.arguments["ignore_regions"])
    return bool((share == case.options["ignore_threshold"]).any())


def table_of(case: Case) -> Array:
    """The IoUs of a case."""
    if "iou" in case.arguments:
        return case.arguments["iou"]
    return np.asarray(pairwise_iou(case.arguments["gt_boxes"], case.arguments["boxes"]))
