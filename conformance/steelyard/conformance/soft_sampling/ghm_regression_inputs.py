"""Inputs of the contracts of the authentic smooth L1 loss and of GHM-R."""

from __future__ import annotations

from dataclasses import replace

import numpy as np

from steelyard.conformance.contract import (
    Array,
    Case,
    Level,
)
from steelyard.conformance.generation import Draw
from steelyard.conformance.precision import PRECISIONS, round_to
from steelyard.conformance.soft_sampling.focal_inputs import FULL, option
from steelyard.conformance.soft_sampling.ghm_inputs import (
    BINS,
    EPSILON,
    MU,
    Options,
    beside_examples,
    clear_regression,
    clear_window_regression,
    difference_of_norm,
    draw_boxes,
    draw_regions,
    draw_state,
    draw_valid,
    loss_shape,
    not_valid,
    valid_of,
    with_bins,
)
from steelyard.conformance.soft_sampling.ghm_laws import (
    Elements,
)
from steelyard.conformance.soft_sampling.ghm_requirements import (
    Inputs,
)
from steelyard.reference.soft_sampling import ghm_regression as oracle

_OTHER_MU = (1.0, 0.1, 0.5, 4.0, 0.05)
_OTHER_BINS = (30, 4, 5, 2, 7)
_OTHER_WINDOWS = (0.25, 0.5, 1.0, 1.5, 0.2)
_RIGHT_ANGLED = ((3.0, 4.0, 5), (4.0, 3.0, 5), (3.0, 4.0, 10), (4.0, 3.0, 20), (5.0, 12.0, 13), (12.0, 5.0, 13))

# --- inputs of the element loss -------------------------------------------------------------------------------


def _pair(draw: Draw, arguments: dict[str, Array], dtype: str, mu: float = MU) -> Case:
    return Case(arguments, {"mu": mu}, dtype, draw.cotangent(arguments["predictions"].shape, dtype))


def boxes(draw: Draw) -> Case:
    """Differences whose gradient norms are spread over [0, 1)."""
    dtype = draw.dtype()
    return _pair(draw, draw_boxes(draw, loss_shape(draw), dtype), dtype)


def other_mu(draw: Draw) -> Case:
    """Other bends than 0.02."""
    dtype, mu = draw.dtype(), draw.choice(_OTHER_MU)
    return _pair(draw, draw_boxes(draw, loss_shape(draw), dtype, mu), dtype, mu)


def on_target(draw: Draw) -> Case:
    """Predictions that are their target, among others."""
    case = boxes(draw)
    predictions, targets = case.arguments["predictions"], case.arguments["targets"]
    same = draw.array(predictions.shape, lambda: float(draw.flag(60))) == 1.0
    same.flat[0] = True
    return replace(case, arguments={"predictions": np.where(same, targets, predictions), "targets": targets})


def _far(draw: Draw, shape: tuple[int, ...], dtype: str, sizes: tuple[float, ...]) -> dict[str, Array]:
    far = draw.array(shape, lambda: draw.choice(sizes) * draw.choice((1.0, -1.0)))
    near = draw.array(shape, lambda: draw.choice((0.0, 1.0, -2.0)))
    if draw.flag():
        far, near = near, far
    return {"predictions": round_to(dtype, far), "targets": round_to(dtype, near)}


def far_off(draw: Draw) -> Case:
    """Differences from 50 to 10^4."""
    dtype = draw.dtype()
    return _pair(draw, _far(draw, loss_shape(draw), dtype, (50.0, 1e3, 256.0, 1e4, 77.7, 4096.0)), dtype)


def furthest(draw: Draw) -> Case:
    """Differences to the end of the format, and tiny ones."""
    dtype = draw.dtype()
    largest, smallest = PRECISIONS[dtype].largest, PRECISIONS[dtype].smallest_normal
    return _pair(draw, _far(draw, loss_shape(draw), dtype, (largest, largest / 4, largest**0.75, smallest)), dtype)


def half_far_off(draw: Draw) -> Case:
    """Differences from 50 to 1000, as of boxes in pixels."""
    dtype = draw.dtype()
    return _pair(draw, _far(draw, loss_shape(draw), dtype, (50.0, 255.0, 256.0, 300.0, 1000.0)), dtype)


def not_a_number(draw: Draw) -> Case:
    """A prediction that is NaN or infinite."""
    return _spoilt(draw, boxes(draw))


def _spoilt(draw: Draw, case: Case) -> Case:
    predictions = case.arguments["predictions"].copy()
    predictions.flat[0] = draw.choice((np.nan, np.inf, -np.inf))
    return case.with_arguments(predictions=predictions)


def no_boxes(draw: Draw) -> Case:
    """No element at all."""
    shape = draw.choice(((0,), (0, 4), (2, 0, 4)))
    return _pair(draw, {"predictions": np.zeros(shape), "targets": np.zeros(shape)}, draw.dtype())


def _scene_boxes(random: np.random.Generator, shape: tuple[int, ...], dtype: str) -> dict[str, Array]:
    """Deltas of a trained head: most within a few hundredths, some far off."""
    targets = round_to(dtype, random.normal(0.0, 0.5, shape))
    spread = np.where(random.random(shape) < 0.1, 1.0, 0.05)
    return {"predictions": round_to(dtype, targets + random.laplace(0.0, 1.0, shape) * spread), "targets": targets}


def boxes_scene(seed: int) -> Case:
    """5,000 boxes."""
    arguments = _scene_boxes(np.random.default_rng(seed), (5000, 4), "float32")
    return Case(arguments, {"mu": MU}, "float32", origin=f"scene {seed}")


# --- unit regions: inputs -------------------------------------------------------------------------------------


def elements_of(case: Case) -> Elements:
    """Authentic smooth L1 losses and their gradient norms."""
    predictions, targets, mu = case.arguments["predictions"], case.arguments["targets"], option(case, "mu")
    with np.errstate(invalid="ignore"):
        sizes = np.abs(predictions - targets) + mu
    return Elements(
        oracle.authentic_smooth_l1_loss(predictions, targets, mu=mu),
        oracle.authentic_smooth_l1_gradient_norm(predictions, targets, mu=mu),
        valid_of(case, predictions.shape),
        sizes,
    )


def _case(draw: Draw, arguments: dict[str, Array], dtype: str, *, averaged: bool | None = None, mu: float = MU) -> Case:
    options: Options = {"mu": mu, **draw_regions(draw, averaged=averaged), "reduction": "sum"}
    valid = draw_valid(draw, arguments["predictions"].shape)
    arguments = {**arguments, "valid": valid, "state": draw_state(draw, BINS, dtype)}
    return Case(arguments, options, dtype, draw.cotangent((), dtype))


def _drawn(draw: Draw, *, averaged: bool | None = None, mu: float = MU) -> Case:
    dtype = draw.dtype()
    return _case(draw, draw_boxes(draw, loss_shape(draw), dtype, mu), dtype, averaged=averaged, mu=mu)


def ordinary(draw: Draw) -> Case:
    """Ten regions, gradient norms clear of their edges, with and without a moving average."""
    return clear_regression(_drawn(draw))


def unaveraged(draw: Draw) -> Case:
    """Without a moving average."""
    return clear_regression(_drawn(draw, averaged=False))


def averaged(draw: Draw) -> Case:
    """With one."""
    return clear_regression(_drawn(draw, averaged=True))


def other_bins(draw: Draw) -> Case:
    """Other numbers of regions than ten."""
    return clear_regression(with_bins(draw.choice(_OTHER_BINS), _drawn(draw)))


def regions_of_other_mu(draw: Draw) -> Case:
    """Other bends than 0.02."""
    return clear_regression(_drawn(draw, mu=draw.choice(_OTHER_MU)))


def unaveraged_of_other_mu(draw: Draw) -> Case:
    """The same without a moving average."""
    return clear_regression(_drawn(draw, averaged=False, mu=draw.choice(_OTHER_MU)))


def on_edges(draw: Draw) -> Case:
    """Right-angled triangles: both the norm 3/5 and the edge 6/10 are one quotient, correctly rounded."""
    opposite, mu, bins = draw.choice(_RIGHT_ANGLED)
    case = with_bins(bins, ordinary(draw)).with_options(mu=mu)
    shape = case.arguments["predictions"].shape
    signs = draw.array(shape, lambda: draw.choice((1.0, -1.0, 0.0)))
    signs.flat[0] = 1.0
    return case.with_arguments(predictions=signs * opposite, targets=np.zeros(shape))


def extreme(draw: Draw) -> Case:
    """Differences from 50 to 10^4."""
    dtype = draw.dtype()
    arguments = _far(draw, loss_shape(draw), dtype, (50.0, 1e3, 256.0, 1e4, 77.7, 4096.0))
    return clear_regression(_case(draw, arguments, dtype, averaged=False))


def half_extreme(draw: Draw) -> Case:
    """Differences from 50 to 1000, as of boxes in pixels."""
    dtype = draw.dtype()
    arguments = _far(draw, loss_shape(draw), dtype, (50.0, 255.0, 256.0, 300.0, 1000.0))
    return clear_regression(_case(draw, arguments, dtype, averaged=False))


def unreduced(draw: Draw) -> Case:
    """The terms."""
    return _unreduced(draw, ordinary(draw))


def _unreduced(draw: Draw, case: Case) -> Case:
    cotangent = draw.cotangent(case.arguments["predictions"].shape, case.dtype)
    return replace(case.with_options(reduction="none"), cotangent=cotangent)


def without_examples(draw: Draw) -> Case:
    """No element at all, or none that is valid."""
    if draw.flag():
        return not_valid(ordinary(draw))
    shape = draw.choice(((0,), (0, 4), (2, 0)))
    return _case(draw, {"predictions": np.zeros(shape), "targets": np.zeros(shape)}, draw.dtype())


def _with_valid_first(case: Case, *, valid: bool) -> Case:
    mask = case.arguments["valid"].copy()
    mask.flat[0] = valid
    return case.with_arguments(valid=mask)


def not_finite(draw: Draw) -> Case:
    """An example that is NaN or infinite."""
    return _with_valid_first(_spoilt(draw, ordinary(draw)), valid=True)


def nan_beside_examples(draw: Draw) -> Case:
    """An example that is NaN, and others."""
    return beside_examples(draw, unaveraged(draw), "predictions")


def not_valid_not_finite(draw: Draw) -> Case:
    """The same, not valid."""
    return _with_valid_first(_spoilt(draw, ordinary(draw)), valid=False)


def _scene_options() -> Options:
    return {"mu": MU, "bins": BINS, "norm": "nonempty", "momentum": None, "ema": "lazy", "reduction": "sum"}


def scene(seed: int) -> Case:
    """5,000 boxes, some of them not foreground."""
    random = np.random.default_rng(seed)
    arguments = _scene_boxes(random, (5000, 4), "float32")
    arguments["valid"] = np.repeat(random.random((5000, 1)) < 0.9, 4, axis=1)
    arguments["state"] = np.zeros(BINS)
    return clear_regression(Case(arguments, _scene_options(), "float32", origin=f"scene {seed}"))


def averaged_scene(seed: int) -> Case:
    """The same with the counts of earlier calls."""
    case = scene(seed).with_options(momentum=0.7)
    state = np.array([900.0, 0.0, 800.0, 0.0, 0.0, 1000.0, 1200.0, 1500.0, 3000.0, 9000.0])
    return replace(case, arguments={**case.arguments, "state": state})


def _half(difference: Array, seed: int) -> Case:
    arguments = {"predictions": difference, "targets": np.zeros(difference.size),
                 "valid": np.ones(difference.size, dtype=np.bool_), "state": np.zeros(BINS)}  # fmt: skip
    return Case(arguments, _scene_options(), "float16", origin=f"scene {seed}")


def _crowd(number: int, outlier: float, seed: int) -> Array:
    """Small differences in one region, and a large one."""
    difference = np.random.default_rng(seed).uniform(0.0, 0.0015, number)
    difference[0] = outlier
    return round_to("float16", difference)


def half_scene(seed: int) -> Case:
    """4,000 small differences and an outlier in float16: its weighted loss is 80,000."""
    return _half(_crowd(4000, 40.0, seed), seed)


def half_region(seed: int) -> Case:
    """4,000 elements of one region in float16, which counts to 2048."""
    difference = np.random.default_rng(seed).uniform(0.0135, 0.014, 4000)
    return _half(round_to("float16", difference), seed)


def half_crowd(seed: int) -> Case:
    """150,000 small differences and an outlier in float16: its weight is 75,000."""
    return _half(_crowd(150000, 2.0, seed), seed)


_REACHES = {
    "an element that is not valid": lambda c: not c.arguments["valid"].all(),
    "a norm below 0.1": lambda c: bool((elements_of(c).norms < 0.1).any()),
    "a norm above 0.9": lambda c: bool((elements_of(c).norms > 0.9).any()),
    "a norm in the middle": lambda c: bool((np.abs(elements_of(c).norms - 0.5) < 0.2).any()),
}

REGIONS = Inputs(
    argument="predictions", read=elements_of, ordinary=ordinary, unaveraged=unaveraged, averaged=averaged,
    extreme=extreme, ties=on_edges, empty=without_examples, not_finite=not_finite,
    not_valid_not_finite=not_valid_not_finite, nan_beside_examples=nan_beside_examples,
    unreduced=unreduced, other=other_bins, scenes=(scene,),
    averaged_scenes=(averaged_scene,), half_scenes=(half_scene, half_region), half_crowds=(half_crowd,),
    padding={"predictions": 0.0, "targets": 0.0, "valid": 0}, second="targets",
    element="authentic smooth L1 loss", source="section on GHM-R",
    reaches={**_REACHES, "a moving average": lambda c: c.options["momentum"] is not None},
    tie_level=Level.SHOULD, tie_dtypes=("float32",), tie_options=("bins", "mu"),
    tie_text="A gradient norm on an edge, such as that of d = 3 with mu = 4 on 6/10, belongs to the region above it.",
)  # fmt: skip

# --- exact density --------------------------------------------------------------------------------------------


def _exact(draw: Draw, arguments: dict[str, Array], dtype: str, epsilon: float = EPSILON, mu: float = MU) -> Case:
    options: Options = {"epsilon": epsilon, "mu": mu, "reduction": "sum"}
    valid = draw_valid(draw, arguments["predictions"].shape)
    return Case({**arguments, "valid": valid}, options, dtype, draw.cotangent((), dtype))


def exact(draw: Draw) -> Case:
    """Gradient norms of which no two are half a window apart."""
    dtype = draw.dtype()
    return clear_window_regression(_exact(draw, draw_boxes(draw, loss_shape(draw), dtype), dtype))


def exact_other(draw: Draw) -> Case:
    """Other lengths than 0.1."""
    dtype = draw.dtype()
    boxes = draw_boxes(draw, loss_shape(draw), dtype)
    return clear_window_regression(_exact(draw, boxes, dtype, draw.choice(_OTHER_WINDOWS)))


def exact_other_mu(draw: Draw) -> Case:
    """Other bends than 0.02."""
    dtype, mu = draw.dtype(), draw.choice(_OTHER_MU)
    return clear_window_regression(_exact(draw, draw_boxes(draw, loss_shape(draw), dtype, mu), dtype, mu=mu))


def exact_ties(draw: Draw) -> Case:
    """Gradient norms 0 and 3/5, and windows of twice that length."""
    dtype = draw.dtype()
    shape = (draw.integer(2, 8),)
    differences = draw.array(shape, lambda: draw.choice((0.0, 3.0, -3.0)))
    case = _exact(draw, {"predictions": differences, "targets": np.zeros(shape)}, dtype, 1.2)
    return case.with_options(mu=4.0)


def exact_extreme(draw: Draw) -> Case:
    """Differences from 50 to 10^4."""
    dtype = draw.dtype()
    arguments = _far(draw, loss_shape(draw), dtype, (50.0, 1e3, 256.0, 1e4, 77.7, 4096.0))
    return clear_window_regression(_exact(draw, arguments, dtype))


def exact_half_extreme(draw: Draw) -> Case:
    """Differences from 50 to 1000."""
    dtype = draw.dtype()
    arguments = _far(draw, loss_shape(draw), dtype, (50.0, 255.0, 256.0, 300.0, 1000.0))
    return clear_window_regression(_exact(draw, arguments, dtype))


def exact_unreduced(draw: Draw) -> Case:
    """The terms."""
    return _unreduced(draw, exact(draw))


def exact_without_examples(draw: Draw) -> Case:
    """No element at all, or none that is valid."""
    if draw.flag():
        return not_valid(exact(draw))
    shape = draw.choice(((0,), (0, 4), (2, 0)))
    return _exact(draw, {"predictions": np.zeros(shape), "targets": np.zeros(shape)}, draw.dtype())


def exact_not_finite(draw: Draw) -> Case:
    """An example that is NaN or infinite."""
    return _with_valid_first(_spoilt(draw, exact(draw)), valid=True)


def exact_nan_beside_examples(draw: Draw) -> Case:
    """An example that is NaN, and others."""
    return beside_examples(draw, exact(draw), "predictions")


def exact_not_valid_not_finite(draw: Draw) -> Case:
    """The same, not valid."""
    return _with_valid_first(_spoilt(draw, exact(draw)), valid=False)


def exact_scene(seed: int) -> Case:
    """1,250 boxes with 40 different differences."""
    random = np.random.default_rng(seed)
    levels = round_to("float32", difference_of_norm(random.random(40), MU))
    options: Options = {"epsilon": EPSILON, "mu": MU, "reduction": "sum"}
    pairs = clear_window_regression(Case({"predictions": levels, "targets": np.zeros(40)}, options, "float32"))
    sign = random.choice([-1.0, 1.0], (1250, 4))
    arguments = {"predictions": sign * random.choice(pairs.arguments["predictions"], (1250, 4)),
                 "targets": np.zeros((1250, 4)), "valid": random.random((1250, 4)) < 0.9}  # fmt: skip
    return Case(arguments, options, "float32", origin=f"scene {seed}")


def _half_exact(difference: Array, seed: int) -> Case:
    arguments = {"predictions": difference, "targets": np.zeros(difference.size),
                 "valid": np.ones(difference.size, dtype=np.bool_)}  # fmt: skip
    return Case(arguments, {"epsilon": EPSILON, "mu": MU, "reduction": "sum"}, "float16", origin=f"scene {seed}")


def half_exact_scene(seed: int) -> Case:
    """4,000 small differences and an outlier in float16: its weighted loss is 100,000."""
    return _half_exact(_crowd(4000, 200.0, seed), seed).with_options(epsilon=0.25)


def half_exact_window(seed: int) -> Case:
    """4,000 elements of one window in float16, which counts to 2048."""
    return _half_exact(np.full(4000, 0.015625), seed)


EXACT = Inputs(
    argument="predictions", read=elements_of, ordinary=exact, extreme=exact_extreme, ties=exact_ties,
    empty=exact_without_examples, not_finite=exact_not_finite, not_valid_not_finite=exact_not_valid_not_finite,
    nan_beside_examples=exact_nan_beside_examples, unreduced=exact_unreduced, other=exact_other, scenes=(exact_scene,),
    half_scenes=(half_exact_scene, half_exact_window), padding=REGIONS.padding, second="targets",
    element="authentic smooth L1 loss", source="equations 4 to 7 and section on GHM-R", reaches=_REACHES,
    tie_level=Level.SHOULD, tie_dtypes=FULL, tie_options=("epsilon", "mu"),
    tie_text="A neighbour half a window below counts, half a window above does not.",
)  # fmt: skip
