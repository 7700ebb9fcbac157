"""Inputs of the contracts of GHM-C: by targets, by class labels, and for the exact density."""

from __future__ import annotations

from dataclasses import replace

import numpy as np

from steelyard.conformance.checking import without_axes
from steelyard.conformance.contract import (
    Array,
    Case,
)
from steelyard.conformance.generation import Draw
from steelyard.conformance.precision import round_to
from steelyard.conformance.real_data import dense_image
from steelyard.conformance.soft_sampling.ghm_inputs import (
    BINS,
    EPSILON,
    Options,
    beside_examples,
    clear_classification,
    clear_logits,
    clear_window_logits,
    draw_logits,
    draw_regions,
    draw_state,
    draw_targets,
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
from steelyard.reference.soft_sampling import ghm as oracle

_OTHER_BINS = (30, 4, 5, 2, 7)
_OTHER_WINDOWS = (0.25, 0.5, 1.0, 1.5, 0.2)

# --- what a case is made of -----------------------------------------------------------------------------------


def _elements(x: Array, y: Array, valid: Array) -> Elements:
    with np.errstate(invalid="ignore"):
        losses = np.where(y == 1, np.logaddexp(0.0, -x), np.logaddexp(0.0, x))
    return Elements(losses, oracle.cross_entropy_gradient_norm(x, y), valid, 1.0 + np.abs(x))


def elements_of(case: Case) -> Elements:
    """Cross entropies, from the definition of the logarithms."""
    logits = case.arguments["logits"]
    return _elements(logits, case.arguments["targets"], valid_of(case, logits.shape))


def elements_of_labels(case: Case) -> Elements:
    """The same, a channel a class."""
    logits, label = case.arguments["logits"], case.arguments["labels"][..., None]
    targets = (label == np.arange(logits.shape[-1])).astype(np.int64)
    return _elements(logits, targets, np.broadcast_to(label != -1, logits.shape))


# --- inputs of unit regions -----------------------------------------------------------------------------------


def _case(draw: Draw, logits: Array, dtype: str, *, averaged: bool | None = None) -> Case:
    options: Options = {**draw_regions(draw, averaged=averaged), "reduction": "sum"}
    arguments = {
        "logits": logits,
        "targets": draw_targets(draw, logits.shape),
        "valid": draw_valid(draw, logits.shape),
        "state": draw_state(draw, BINS, dtype),
    }
    return Case(arguments, options, dtype, draw.cotangent((), dtype))


def _drawn(draw: Draw, *, averaged: bool | None = None) -> Case:
    dtype = draw.dtype()
    return _case(draw, draw_logits(draw, loss_shape(draw), dtype), dtype, averaged=averaged)


def ordinary(draw: Draw) -> Case:
    """Ten regions, gradient norms clear of their edges, with and without a moving average."""
    return clear_classification(_drawn(draw))


def unaveraged(draw: Draw) -> Case:
    """Without a moving average."""
    return clear_classification(_drawn(draw, averaged=False))


def averaged(draw: Draw) -> Case:
    """With one."""
    return clear_classification(_drawn(draw, averaged=True))


def other_bins(draw: Draw) -> Case:
    """Other numbers of regions than ten."""
    return clear_classification(with_bins(draw.choice(_OTHER_BINS), _drawn(draw)))


def on_edges(draw: Draw) -> Case:
    """Logits 0, whose gradient norm is the edge 1/2 exactly, and such whose norm rounds to 0 or 1."""
    case = ordinary(draw)
    logits = case.arguments["logits"]
    ties = draw.array(logits.shape, lambda: draw.choice((1.0, 0.0, 1000.0, -1000.0)))
    ties.flat[0] = 0.0
    return case.with_arguments(logits=np.where(ties == 1.0, logits, ties))


def extreme(draw: Draw) -> Case:
    """Logits from 15 to 10^4."""
    dtype = draw.dtype()
    return clear_classification(_case(draw, _large(draw, loss_shape(draw), dtype), dtype, averaged=False))


def _large(draw: Draw, shape: tuple[int, ...], dtype: str) -> Array:
    logits = draw.extreme_logits(shape, dtype, to_the_end=False)
    return np.where(np.abs(logits) < 1.0, 20.0, logits)  # subnormal ones are on the edge 1/2


def unreduced(draw: Draw) -> Case:
    """The terms."""
    return _unreduced(draw, ordinary(draw))


def _unreduced(draw: Draw, case: Case) -> Case:
    cotangent = draw.cotangent(case.arguments["logits"].shape, case.dtype)
    return replace(case.with_options(reduction="none"), cotangent=cotangent)


def without_examples(draw: Draw) -> Case:
    """No element at all, or none that is valid."""
    if draw.flag():
        return not_valid(ordinary(draw))
    dtype = draw.dtype()
    return _case(draw, np.zeros(draw.choice(((0,), (0, 3), (2, 0)))), dtype)


def not_finite(draw: Draw) -> Case:
    """An example that is NaN or infinite."""
    return _with_valid_first(_spoilt(draw, ordinary(draw)), valid=True)


def not_valid_not_finite(draw: Draw) -> Case:
    """The same, not valid."""
    return _with_valid_first(_spoilt(draw, ordinary(draw)), valid=False)


def nan_beside_examples(draw: Draw) -> Case:
    """An example that is NaN, and others."""
    return beside_examples(draw, unaveraged(draw), "logits")


def _spoilt(draw: Draw, case: Case) -> Case:
    logits = case.arguments["logits"].copy()
    logits.flat[0] = draw.choice((np.nan, np.inf, -np.inf))
    return case.with_arguments(logits=logits)


def _with_valid_first(case: Case, *, valid: bool) -> Case:
    mask = case.arguments["valid"].copy()
    mask.flat[0] = valid
    return case.with_arguments(valid=mask)


def _scene_arguments(random: np.random.Generator, shape: tuple[int, ...], dtype: str, bins: int) -> dict[str, Array]:
    positive = random.random(shape) < 2e-3
    logits = np.where(positive, random.normal(0.0, 2.0, shape), random.normal(-5.0, 1.5, shape))
    targets = positive.astype(np.int64)
    return {
        "logits": clear_logits(round_to(dtype, logits), targets, bins, dtype),
        "targets": targets,
        "valid": random.random(shape) < 0.95,
    }


def scene(seed: int) -> Case:
    """20,000 elements of a trained detector."""
    arguments = _scene_arguments(np.random.default_rng(seed), (2, 500, 20), "float32", BINS)
    return Case({**arguments, "state": np.zeros(BINS)}, _scene_options(), "float32", origin=f"scene {seed}")


def averaged_scene(seed: int) -> Case:
    """The same with the counts of earlier calls."""
    state = np.concatenate([[17000.0, 1500.0, 400.0], np.zeros(4), [3.0, 20.0, 15.0]])
    case = scene(seed).with_options(momentum=0.75)
    return replace(case, arguments={**case.arguments, "state": state})


def _scene_options() -> Options:
    return {"bins": BINS, "norm": "nonempty", "momentum": None, "ema": "lazy", "reduction": "sum"}


def crowd(number: int, outlier: float, seed: int) -> Array:
    """Logits of easy negatives and of one that is certainly taken for a positive."""
    random = np.random.default_rng(seed)
    logits = np.minimum(random.normal(-6.0, 1.0, number), -4.0)
    logits[0] = outlier
    return round_to("float16", logits)


def one_region(number: int, seed: int) -> Array:
    """Logits of negatives whose gradient norms are between 0.23 and 0.27."""
    return round_to("float16", np.random.default_rng(seed).uniform(-1.2, -1.0, number))


def _half(logits: Array, seed: int) -> Case:
    arguments = {"logits": logits, "targets": np.zeros(logits.size, dtype=np.int64),
                 "valid": np.ones(logits.size, dtype=np.bool_), "state": np.zeros(BINS)}  # fmt: skip
    return Case(arguments, _scene_options(), "float16", origin=f"scene {seed}")


def half_scene(seed: int) -> Case:
    """4,000 easy negatives and an outlier in float16: its weighted loss is 80,000."""
    return _half(crowd(4000, 40.0, seed), seed)


def half_region(seed: int) -> Case:
    """4,000 elements of one region in float16, which counts to 2048."""
    return _half(one_region(4000, seed), seed)


def half_crowd(seed: int) -> Case:
    """150,000 easy negatives and an outlier in float16: its weight is 75,000."""
    return _half(crowd(150000, 11.0, seed), seed)


def mirrored(case: Case) -> Case:
    """Logits of the other sign and the other target."""
    return case.with_arguments(logits=-case.arguments["logits"], targets=1 - case.arguments["targets"])


_REACHES = {
    "an element that is not valid": lambda c: not elements_of(c).valid.all(),
    "a moving average": lambda c: c.options["momentum"] is not None,
    "a state that is not 0": lambda c: bool(c.arguments["state"].any()),
    "a positive": lambda c: bool((c.arguments["targets"] == 1).any()),
    "a norm in the middle": lambda c: bool((np.abs(elements_of(c).norms - 0.5) < 0.2).any()),
    "the paper's norm": lambda c: c.options["norm"] == "M",
    "full moving average": lambda c: c.options["ema"] == "full",
}
_EXTREME = {
    "a norm that rounds to 1": lambda c: bool((elements_of(c).norms == 1.0).any()),
    "a norm below 1e-10": lambda c: bool((elements_of(c).norms < 1e-10).any()),
}

BY_TARGETS = Inputs(
    argument="logits", read=elements_of, ordinary=ordinary, unaveraged=unaveraged, averaged=averaged,
    extreme=extreme, ties=on_edges, empty=without_examples, not_finite=not_finite,
    not_valid_not_finite=not_valid_not_finite, nan_beside_examples=nan_beside_examples,
    unreduced=unreduced, other=other_bins, scenes=(scene,),
    averaged_scenes=(averaged_scene,), half_scenes=(half_scene, half_region), half_crowds=(half_crowd,),
    padding={"logits": 0.0, "targets": 0, "valid": 0},
    second="targets", element="cross entropy", source="equations 8 to 13", reaches=_REACHES, extreme_reaches=_EXTREME,
    tie_text="Gradient norm 1/2 belongs to the region above it, and 1, which a rounded score reaches, to the last.",
)  # fmt: skip

# --- from class labels ----------------------------------------------------------------------------------------


def _labelled(draw: Draw, logits: Array, dtype: str, *, averaged: bool | None = None) -> Case:
    options: Options = {**draw_regions(draw, averaged=averaged), "reduction": "sum"}
    labels = draw.integers(logits.shape[:-1], -1, logits.shape[-1])
    labels.flat[:1] = labels.flat[:1] if (labels >= 0).any() else logits.shape[-1]
    arguments = {"logits": logits, "labels": labels, "state": draw_state(draw, BINS, dtype)}
    return Case(arguments, options, dtype, draw.cotangent((), dtype))


def _channels(draw: Draw) -> tuple[int, ...]:
    return (*draw.shape(draw.integer(1, 2), high=3), draw.integer(1, 3))


def clear_labelled(case: Case) -> Case:
    """Gradient norms clear of edges."""
    logits = case.arguments["logits"]
    targets = case.arguments["labels"][..., None] == np.arange(logits.shape[-1])
    cleared = clear_logits(logits, targets, int(case.options["bins"] or 1), case.dtype)
    return replace(case, arguments={**case.arguments, "logits": cleared})


def _drawn_labelled(draw: Draw, *, averaged: bool | None = None) -> Case:
    dtype = draw.dtype()
    return _labelled(draw, draw_logits(draw, _channels(draw), dtype), dtype, averaged=averaged)


def labelled(draw: Draw) -> Case:
    """Foreground, background and ignored anchors; ten regions."""
    return clear_labelled(_drawn_labelled(draw))


def labelled_unaveraged(draw: Draw) -> Case:
    """Without a moving average."""
    return clear_labelled(_drawn_labelled(draw, averaged=False))


def labelled_averaged(draw: Draw) -> Case:
    """With one."""
    return clear_labelled(_drawn_labelled(draw, averaged=True))


def labelled_other_bins(draw: Draw) -> Case:
    """Other numbers of regions than ten."""
    return clear_labelled(with_bins(draw.choice(_OTHER_BINS), _drawn_labelled(draw)))


def labelled_on_edges(draw: Draw) -> Case:
    """Logits 0, and such whose gradient norm rounds to 0 or 1."""
    case = labelled(draw)
    logits = case.arguments["logits"]
    ties = draw.array(logits.shape, lambda: draw.choice((1.0, 0.0, 1000.0, -1000.0)))
    ties[..., 0] = 0.0
    return case.with_arguments(logits=np.where(ties == 1.0, logits, ties))


def labelled_extreme(draw: Draw) -> Case:
    """Logits from 15 to 10^4."""
    dtype = draw.dtype()
    return clear_labelled(_labelled(draw, _large(draw, _channels(draw), dtype), dtype, averaged=False))


def labelled_unreduced(draw: Draw) -> Case:
    """The terms."""
    return _unreduced(draw, labelled(draw))


def labelled_without_examples(draw: Draw) -> Case:
    """No anchor at all, or ignored ones only."""
    if draw.flag():
        case = labelled(draw)
        return case.with_arguments(labels=np.full(case.arguments["labels"].shape, -1))
    return _labelled(draw, np.zeros(draw.choice(((0, 3), (2, 0, 1)))), draw.dtype())


def labelled_not_finite(draw: Draw) -> Case:
    """A NaN or infinite logit of an anchor that counts."""
    case = _spoilt(draw, labelled(draw))
    return case.with_arguments(labels=np.maximum(case.arguments["labels"], 0))


def labelled_nan_beside_examples(draw: Draw) -> Case:
    """A NaN logit of an anchor that counts, and others."""
    return beside_examples(draw, labelled_unaveraged(draw), "logits")


def ignored_not_finite(draw: Draw) -> Case:
    """A NaN or infinite logit of an ignored anchor."""
    case = _spoilt(draw, labelled(draw))
    labels = case.arguments["labels"].copy()
    labels.flat[0] = -1
    return case.with_arguments(labels=labels)


def photograph(seed: int) -> Case:
    """Every point of a real detector on a photograph: 168,000 examples in thirty regions, as trained."""
    image = dense_image(seed)
    arguments = {"logits": image.class_logits, "labels": image.labels, "state": np.zeros(BINS)}
    case = Case(arguments, _scene_options(), "float32", origin=f"photograph {seed % 3}")
    return clear_labelled(with_bins(30, case))


def labelled_scene(seed: int) -> Case:
    """10,000 channels of a trained detector."""
    case = scene(seed)
    logits = case.arguments["logits"].reshape(1000, 20)[:500]
    positive = case.arguments["targets"].reshape(1000, 20)[:500]
    labels = np.where(positive.any(axis=-1), positive.argmax(axis=-1), 20)
    arguments = {"logits": logits, "labels": labels, "state": np.zeros(BINS)}
    return clear_labelled(Case(arguments, _scene_options(), "float32", origin=f"scene {seed}"))


def _half_labelled(logits: Array, seed: int) -> Case:
    arguments = {"logits": logits.reshape(-1, 4), "labels": np.full(logits.size // 4, 4), "state": np.zeros(BINS)}
    return Case(arguments, _scene_options(), "float16", origin=f"scene {seed}")


def half_labelled_scene(seed: int) -> Case:
    """4,000 easy negatives and an outlier in float16: its weighted loss is 80,000."""
    return _half_labelled(crowd(4000, 40.0, seed), seed)


def half_labelled_region(seed: int) -> Case:
    """4,000 elements of one region in float16, which counts to 2048."""
    return _half_labelled(one_region(4000, seed), seed)


def half_labelled_crowd(seed: int) -> Case:
    """150,000 easy negatives and an outlier in float16: its weight is 75,000."""
    return _half_labelled(crowd(150000, 11.0, seed), seed)


BY_LABELS = Inputs(
    argument="logits", read=elements_of_labels, ordinary=labelled, unaveraged=labelled_unaveraged,
    averaged=labelled_averaged, extreme=labelled_extreme, ties=labelled_on_edges, empty=labelled_without_examples,
    not_finite=labelled_not_finite, not_valid_not_finite=ignored_not_finite,
    nan_beside_examples=labelled_nan_beside_examples, unreduced=labelled_unreduced,
    other=labelled_other_bins, scenes=(photograph, labelled_scene),
    half_scenes=(half_labelled_scene, half_labelled_region),
    half_crowds=(half_labelled_crowd,), padding={"logits": 0.0, "labels": -1}, second="labels",
    misfits=(without_axes("logits", "labels"),),
    element="cross entropy", source="equations 8 to 13", tie_text=BY_TARGETS.tie_text,
    reaches={
        "an ignored anchor": lambda c: bool((c.arguments["labels"] == -1).any()),
        "a background anchor": lambda c: bool((c.arguments["labels"] == c.arguments["logits"].shape[-1]).any()),
        "a foreground anchor": lambda c: bool(
            ((c.arguments["labels"] >= 0) & (c.arguments["labels"] < c.arguments["logits"].shape[-1])).any()),
        "one class": lambda c: c.arguments["logits"].shape[-1] == 1,
        "a moving average": lambda c: c.options["momentum"] is not None,
    },
)  # fmt: skip
# --- exact density --------------------------------------------------------------------------------------------


def _exact(draw: Draw, logits: Array, dtype: str, epsilon: float = EPSILON) -> Case:
    arguments = {
        "logits": logits,
        "targets": draw_targets(draw, logits.shape),
        "valid": draw_valid(draw, logits.shape),
    }
    return Case(arguments, {"epsilon": epsilon, "reduction": "sum"}, dtype, draw.cotangent((), dtype))


def exact(draw: Draw) -> Case:
    """Gradient norms of which no two are half a window apart."""
    dtype = draw.dtype()
    return clear_window_logits(_exact(draw, draw_logits(draw, loss_shape(draw), dtype), dtype))


def exact_other(draw: Draw) -> Case:
    """Other lengths than 0.1."""
    dtype = draw.dtype()
    logits = draw_logits(draw, loss_shape(draw), dtype)
    return clear_window_logits(_exact(draw, logits, dtype, draw.choice(_OTHER_WINDOWS)))


def exact_ties(draw: Draw) -> Case:
    """Gradient norms 0, 1/2 and 1 with windows of length 1, in which they are on the ends."""
    dtype = draw.dtype()
    shape = (draw.integer(2, 8),)
    return _exact(draw, draw.array(shape, lambda: draw.choice((0.0, 1000.0, -1000.0))), dtype, 1.0)


def exact_extreme(draw: Draw) -> Case:
    """Logits from 15 to 10^4."""
    dtype = draw.dtype()
    return clear_window_logits(_exact(draw, _large(draw, loss_shape(draw), dtype), dtype))


def exact_unreduced(draw: Draw) -> Case:
    """The terms."""
    return _unreduced(draw, exact(draw))


def exact_without_examples(draw: Draw) -> Case:
    """No element at all, or none that is valid."""
    if draw.flag():
        return not_valid(exact(draw))
    return _exact(draw, np.zeros(draw.choice(((0,), (0, 3), (2, 0)))), draw.dtype())


def exact_not_finite(draw: Draw) -> Case:
    """An example that is NaN or infinite."""
    return _with_valid_first(_spoilt(draw, exact(draw)), valid=True)


def exact_nan_beside_examples(draw: Draw) -> Case:
    """An example that is NaN, and others."""
    return beside_examples(draw, exact(draw), "logits")


def exact_not_valid_not_finite(draw: Draw) -> Case:
    """The same, not valid."""
    return _with_valid_first(_spoilt(draw, exact(draw)), valid=False)


def exact_scene(seed: int) -> Case:
    """5,000 elements with 40 different logits, as a trained detector's scores rounded."""
    random = np.random.default_rng(seed)
    logits = round_to("float32", np.concatenate([random.normal(-5.0, 1.5, 30), random.normal(0.0, 2.0, 10)]))
    options: Options = {"epsilon": EPSILON, "reduction": "sum"}
    few = Case({"logits": logits, "targets": np.zeros(40, dtype=np.int64)}, options, "float32")
    logits = random.choice(clear_window_logits(few).arguments["logits"], 5000)
    targets = (random.random(5000) < 0.01).astype(np.int64)
    logits = np.where(targets == 1, -logits, logits)
    arguments: dict[str, Array] = {"logits": logits, "targets": targets, "valid": random.random(5000) < 0.95}
    return Case(arguments, options, "float32", origin=f"scene {seed}")


def _half_exact(logits: Array, seed: int) -> Case:
    options: Options = {"epsilon": EPSILON, "reduction": "sum"}
    arguments = {"logits": logits, "targets": np.zeros(logits.size, dtype=np.int64),
                 "valid": np.ones(logits.size, dtype=np.bool_)}  # fmt: skip
    return Case(arguments, options, "float16", origin=f"scene {seed}")


def half_exact_scene(seed: int) -> Case:
    """4,000 easy negatives and an outlier in float16: its weighted loss is 80,000."""
    return _half_exact(crowd(4000, 400.0, seed), seed)


def half_exact_window(seed: int) -> Case:
    """4,000 elements of one window in float16, which counts to 2048."""
    return _half_exact(np.full(4000, -1.125), seed)


EXACT = Inputs(
    argument="logits", read=elements_of, ordinary=exact, extreme=exact_extreme, ties=exact_ties,
    empty=exact_without_examples, not_finite=exact_not_finite, not_valid_not_finite=exact_not_valid_not_finite,
    nan_beside_examples=exact_nan_beside_examples, unreduced=exact_unreduced, other=exact_other, scenes=(exact_scene,),
    half_scenes=(half_exact_scene, half_exact_window),
    padding=BY_TARGETS.padding, second="targets", element="cross entropy", source="equations 4 to 8",
    tie_text="A neighbour half a window below counts, half a window above does not.", tie_options=("epsilon",),
    extreme_reaches=_EXTREME,
    reaches={"an element that is not valid": lambda c: not c.arguments["valid"].all(),
             "a positive": lambda c: bool((c.arguments["targets"] == 1).any()),
             "a window cut at 0": lambda c: bool((elements_of(c).norms < 0.05).any()),
             "a window cut at 1": lambda c: bool((elements_of(c).norms > 0.95).any())},
)  # fmt: skip
