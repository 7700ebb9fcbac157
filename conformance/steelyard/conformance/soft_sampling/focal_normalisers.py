"""Contracts of the focal loss's normalisers.

Lin et al., "Focal Loss for Dense Object Detection", ICCV 2017 (arXiv 1708.02002), section 4.1, and the ways of
the libraries, which are dialects here.
"""

from __future__ import annotations

from collections.abc import Callable
from functools import partial

import numpy as np

from steelyard.conformance.checking import (
    BadInput,
    Bench,
    bad_option,
    bad_shape,
    gradient,
    plain,
    purity,
    refuses,
    same_as,
    value,
)
from steelyard.conformance.contract import (
    Argument,
    Array,
    Case,
    Dialect,
    Kind,
    Level,
    Mutant,
    Option,
    OptionValue,
    Output,
    Requirement,
    Ruling,
    Technique,
)
from steelyard.conformance.generation import Draw
from steelyard.conformance.precision import round_to
from steelyard.conformance.soft_sampling.focal_inputs import FULL, PAPER
from steelyard.reference.soft_sampling import focal_normalisers as oracle

_CLASSES = 3
_FLOAT32_EPSILON = 2.0**-23

# --- inputs ---------------------------------------------------------------------------------------------------


def _case(draw: Draw, shape: tuple[int, ...], lowest: int, highest: int) -> Case:
    dtype = draw.dtype()
    losses = round_to(dtype, draw.array(shape, lambda: 4.0 * draw.fraction()))
    labels = draw.integers(shape[:2], lowest, highest)
    losses = np.where((labels == -1)[..., None], 0.0, losses)
    options: dict[str, OptionValue] = {"num_classes": _CLASSES, "normaliser": draw.choice(tuple(oracle.NORMALISERS))}
    return Case({"losses": losses, "labels": labels}, options, dtype)


def ordinary(draw: Draw) -> Case:
    """Two to four images, each with at least one foreground anchor."""
    case = _case(draw, (draw.integer(2, 4), draw.integer(2, 4), _CLASSES), 0, _CLASSES)
    labels = case.arguments["labels"].copy()
    labels[:, 0] = np.minimum(labels[:, 0], _CLASSES - 1)
    return case.with_arguments(labels=labels)


def some_without_foreground(draw: Draw) -> Case:
    """Images with few or no foreground anchors, and ignored ones."""
    case = _case(draw, (draw.integer(1, 4), draw.integer(1, 4), _CLASSES), -1, _CLASSES)
    labels = case.arguments["labels"].copy()
    labels[0] = np.where(labels[0] == -1, -1, _CLASSES)
    return case.with_arguments(labels=labels)


def _uses(normaliser: str, case: Case) -> bool:
    return case.options["normaliser"] == normaliser


def no_anchor(draw: Draw) -> Case:
    """Images without anchors."""
    return _case(draw, (draw.integer(1, 3), 0, _CLASSES), -1, _CLASSES)


def scene(seed: int) -> Case:
    """Four images of 5,000 anchors, one in a thousand foreground."""
    random = np.random.default_rng(seed)
    labels = np.where(random.random((4, 5000)) < 1e-3, random.integers(0, _CLASSES, (4, 5000)), _CLASSES)
    losses = round_to("float32", random.exponential(1e-3, (*labels.shape, _CLASSES)))
    options: dict[str, OptionValue] = {"num_classes": _CLASSES, "normaliser": "per_image_foreground"}
    return Case({"losses": losses, "labels": labels}, options, "float32", origin=f"scene {seed}")


# --- laws -----------------------------------------------------------------------------------------------------


def summands(case: Case) -> tuple[int, Array]:
    """Number of losses, and their sum of absolute values over the smallest denominator."""
    losses = np.abs(case.arguments["losses"])
    changed = Case({**case.arguments, "losses": losses}, case.options, case.dtype)
    largest = max(abs(oracle.normalise_focal_loss(**changed.arguments, num_classes=_CLASSES, normaliser=name))
                  for name in oracle.NORMALISERS)  # fmt: skip
    return max(losses.size, 1), np.asarray(largest)


def practical_error(case: Case, _: float) -> Array:
    """A divisor n + 2^-23, in every format, is common; n is at least 1."""
    return np.asarray(_FLOAT32_EPSILON * summands(case)[1])


def practical_gradient_error(case: Case, _: float) -> Array:
    """The same of the derivative, which is 1 / n."""
    return np.full(case.arguments["losses"].shape, _FLOAT32_EPSILON)


def replicated(case: Case) -> Case:
    """The mini-batch twice."""
    return case.with_arguments(**{name: np.concatenate([values, values]) for name, values in case.arguments.items()})


def replication_changes_nothing(bench: Bench, case: Case) -> None:
    """The same images twice give the same loss."""
    plain_case = case.with_options(normaliser="per_image_foreground")
    if bench.dialect is not None and bench.dialect.id == "batch_foreground_plus_one":
        return
    same_as(replicated, "value of the mini-batch twice")(bench, plain_case)


def reordered(case: Case) -> Case:
    """Images and anchors in reverse."""
    return case.with_arguments(**{name: values[::-1, ::-1].copy() for name, values in case.arguments.items()})


def one_image_is_itself(bench: Bench, case: Case) -> None:
    """The paper's loss of a mini-batch is the mean of its images' losses."""
    paper = case.with_options(normaliser="per_image_foreground")
    whole = np.asarray(bench.evaluate(paper).outputs[0], dtype=np.float64)
    parts = [
        np.asarray(
            bench.evaluate(
                paper.with_arguments(**{name: values[b : b + 1] for name, values in case.arguments.items()})
            ).outputs[0],
            dtype=np.float64,
        )
        for b in range(len(case.arguments["labels"]))
    ]
    plain(bench, paper, whole, np.asarray(np.mean(parts)), "value against the mean of its images")


# --- mutants --------------------------------------------------------------------------------------------------


def _counts(labels: Array, num_classes: int) -> Array:
    return np.asarray(((np.asarray(labels) >= 0) & (np.asarray(labels) < num_classes)).sum(axis=1))


def _sums(losses: Array, labels: Array) -> Array:
    return np.asarray(losses, dtype=np.float64).reshape(len(labels), -1).sum(axis=1)


def _checked(losses: Array, labels: Array, num_classes: int, normaliser: str) -> float:
    return oracle.normalise_focal_loss(losses, labels, num_classes=num_classes, normaliser=normaliser)


def by_anchors(losses: Array, labels: Array, *, num_classes: int, normaliser: str) -> Array:
    _checked(losses, labels, num_classes, normaliser)
    return np.asarray(_sums(losses, labels).sum() / max(np.size(labels), 1))


def by_elements(losses: Array, labels: Array, *, num_classes: int, normaliser: str) -> Array:
    """Whatever the labels say."""
    return np.asarray(np.divide(np.sum(losses, dtype=np.float64), np.size(losses)))


def spatial_mean(losses: Array, labels: Array, *, num_classes: int, normaliser: str) -> Array:
    """The mean over anchors, then the sum over images and classes, whatever the labels say."""
    return np.asarray(np.divide(np.sum(losses, axis=1, dtype=np.float64), np.shape(losses)[1]).sum())


def epsilon_for_floor(losses: Array, labels: Array, *, num_classes: int, normaliser: str) -> Array:
    _checked(losses, labels, num_classes, normaliser)
    counts, sums = _counts(labels, num_classes), _sums(losses, labels)
    if normaliser == "per_image_foreground":
        return np.asarray(np.mean(sums / (counts + _FLOAT32_EPSILON)))
    more = {"batch_foreground_plus_one": 1, "detectron": len(counts)}.get(normaliser, 0)
    return np.asarray(sums.sum() / (counts.sum() + more + _FLOAT32_EPSILON))


def no_floor(losses: Array, labels: Array, *, num_classes: int, normaliser: str) -> Array:
    """The count as it is, for images and for the mini-batch: without foreground infinite, 0 / 0 without losses.

    So is the answer for no image at all: nothing refuses it.
    """
    if normaliser not in ("per_image_foreground", "batch_foreground"):
        return np.asarray(_checked(losses, labels, num_classes, normaliser))
    if np.shape(losses)[:2] != np.shape(labels):
        raise ValueError("expected losses and labels of the same anchors")
    sums, counts = np.sum(losses, axis=(1, 2), dtype=np.float64), _counts(labels, num_classes)
    with np.errstate(divide="ignore", invalid="ignore"):
        if normaliser == "per_image_foreground":
            return np.asarray(np.divide(np.sum(sums / counts), len(counts)))
        return np.asarray(np.divide(sums.sum(), counts.sum()))


def zero_without_positives(losses: Array, labels: Array, *, num_classes: int, normaliser: str) -> Array:
    losses = np.where((_counts(labels, num_classes) > 0)[:, None, None], losses, 0.0)
    return np.asarray(_checked(losses, labels, num_classes, normaliser))


def ignored_is_foreground(losses: Array, labels: Array, *, num_classes: int, normaliser: str) -> Array:
    labels = np.where(np.asarray(labels) == -1, 0, labels)
    return np.asarray(_checked(losses, labels, num_classes, normaliser))


def by_objects(losses: Array, labels: Array, *, num_classes: int, normaliser: str) -> Array:
    """Distinct classes stand in for objects: what is counted is not anchors."""
    objects = np.array([len({int(c) for c in row if 0 <= c < num_classes}) for row in np.asarray(labels)])
    function = oracle.NORMALISERS[normaliser]
    _checked(losses, labels, num_classes, normaliser)
    return np.asarray(function(_sums(losses, labels), objects))


def in_place(losses: Array, labels: Array, *, num_classes: int, normaliser: str) -> Array:
    loss = _checked(losses, labels, num_classes, normaliser)
    losses /= 2
    labels += 1
    return np.asarray(loss)


def unchecked(losses: Array, labels: Array, *, num_classes: int, normaliser: str) -> Array:
    labels = np.asarray(labels)[: len(losses)]
    name = normaliser if normaliser in oracle.NORMALISERS else "per_image_foreground"
    if not len(labels):
        return np.asarray(0.0)
    return np.asarray(oracle.NORMALISERS[name](_sums(losses, labels), _counts(labels, num_classes)))


def detached_count_grad(losses: Array, labels: Array, *, num_classes: int, normaliser: str) -> Array:
    """The derivative that forgets to divide by the number of images."""
    return len(labels) * gradient_of_losses(losses, labels, num_classes=num_classes, normaliser=normaliser)


def float16_sum(losses: Array, labels: Array, *, num_classes: int, normaliser: str) -> Array:
    """A running total that stops growing: each further loss is below half its last digit."""
    exact = _checked(losses, labels, num_classes, normaliser)
    total = float(np.sum(np.asarray(losses, dtype=np.float64)))
    if np.size(losses) <= 1000 or total == 0:
        return np.asarray(exact)
    kept = np.cumsum(np.asarray(losses, dtype=np.float16).ravel(), dtype=np.float16).tolist()[-1]
    return np.asarray(exact * float(kept) / total)


def derivative_of(function: Callable[..., float | Array]) -> Callable[..., Array]:
    """Of what is linear in the losses of an image: the answer to an indicator, image by image."""

    def derivative(losses: Array, labels: Array, **options: OptionValue) -> Array:
        shape = np.shape(losses)
        weights = []
        for b in range(len(labels)):
            one = np.zeros(shape)
            if one[b].size:
                one[b].flat[0] = 1.0
            weights.append(float(function(one, labels, **options)))
        return np.broadcast_to(np.array(weights).reshape(-1, *[1] * (len(shape) - 1)), shape)

    return derivative


def gradient_of_losses(losses: Array, labels: Array, *, num_classes: int, normaliser: str) -> Array:
    """Derivative of the normalised loss by each element."""
    return derivative_of(oracle.normalise_focal_loss)(losses, labels, num_classes=num_classes, normaliser=normaliser)


_MUTANTS = (
    Mutant("focal-normaliser/by-anchors", "the number of all anchors, nearly all of them background", by_anchors),
    Mutant("focal-normaliser/by-elements", "the number of all elements (reduction = mean)", by_elements,
           derivative_of(by_elements), seen_in="kornia, reduction mean"),
    Mutant("focal-normaliser/spatial-mean", "the sum over images and classes of the mean over anchors", spatial_mean,
           derivative_of(spatial_mean), seen_in="monai, reduction sum"),
    Mutant("focal-normaliser/by-objects", "a count that is not that of foreground anchors", by_objects),
    Mutant("focal-normaliser/no-floor", "no floor of 1 under the number of foreground anchors", no_floor,
           derivative_of(no_floor), seen_in="balanced-loss"),
    Mutant("focal-normaliser/epsilon-for-floor", "2^-23 added to the denominator in place of at least 1",
           epsilon_for_floor, seen_in="mmdet, avg_factor 0"),
    Mutant("focal-normaliser/zero-without-positives", "no loss for images without foreground", zero_without_positives),
    Mutant("focal-normaliser/ignored-is-foreground", "ignored anchors counted as foreground", ignored_is_foreground),
    Mutant("focal-normaliser/lost-mean", "a gradient that is not divided by the number of images",
           oracle.normalise_focal_loss, detached_count_grad),
    Mutant("focal-normaliser/float16-sum", "the sum of many losses kept in float16", float16_sum),
    Mutant("focal-normaliser/in-place", "its inputs overwritten", in_place),
    Mutant("focal-normaliser/unchecked", "no check of its arguments", unchecked),
)  # fmt: skip

_IMPLIED = "implied by NORM-1; kept because a failure then names the law that is broken"

NORMALISE_FOCAL_LOSS = Technique(
    id="normalise_focal_loss",
    title="Normaliser of the focal loss",
    family="soft_sampling",
    summary="The summed loss of a mini-batch over the number of anchors that are assigned to an object.",
    sources=(PAPER + ", section 4.1", "the RetinaNet heads of torchvision, keras-retinanet, mmdet, effdet, Detectron"),
    oracle=oracle.normalise_focal_loss,
    gradients={"losses": gradient_of_losses},
    arguments=(
        Argument("losses", ("B", "N", "C"), "float", "element losses, 0 where ignored", differentiable=True),
        Argument("labels", ("B", "N"), "int", "0..C-1 foreground, C background, -1 ignore"),
    ),
    options=(
        Option("num_classes", 80, "C"),
        Option("normaliser", "per_image_foreground", f"one of {', '.join(oracle.NORMALISERS)}"),
    ),
    outputs=(Output("loss", (), "float", "the loss of the mini-batch"),),
    practical_error=practical_error,
    practical_gradient_error=practical_gradient_error,
    summands=summands,
    dialects=(
        Dialect("per_image_foreground", "mean over images of each one's sum by its own foreground anchors",
                {"normaliser": "per_image_foreground"}, departs_from_paper=False),
        Dialect("batch_foreground", "sum by the foreground anchors of the whole mini-batch",
                {"normaliser": "batch_foreground"}),
        Dialect("batch_floored_foreground", "as batch_foreground, an image without foreground counting one anchor",
                {"normaliser": "batch_floored_foreground"}),
        Dialect("batch_foreground_plus_one", "sum by one more than the foreground anchors",
                {"normaliser": "batch_foreground_plus_one"}),
        Dialect("detectron", "sum by the foreground anchors and the images", {"normaliser": "detectron"}),
    ),
    requirements=(
        Requirement("NORM-1", Level.MUST, Kind.VALUE, "The loss is the sum over images, each by its denominator.",
                    "section 4.1", value, ordinary, scenes=(scene,), dtypes=FULL,
                    reaches={f"normaliser {name}": partial(_uses, name) for name in oracle.NORMALISERS}),
        Requirement("NORM-2", Level.MUST, Kind.GRADIENT, "The gradient is that of the sum; counts are constants.",
                    "section 4.1", gradient("losses"), ordinary, needs_gradient=True, dtypes=FULL),
        Requirement("NORM-3", Level.MUST, Kind.EMPTY,
                    "Without foreground the denominator is 1, and the loss of the negatives counts; ignored anchors "
                    "are not counted.", "ruling keep-negatives", value, some_without_foreground, dtypes=FULL,
                    reaches={"an image without foreground":
                             lambda c: bool((_counts(c.arguments["labels"], _CLASSES) == 0).any()),
                             "an ignored anchor": lambda c: bool((c.arguments["labels"] == -1).any())}),
        Requirement("NORM-4", Level.MUST, Kind.EMPTY, "Images without anchors have loss 0.", "ruling keep-negatives",
                    value, no_anchor, dtypes=FULL, examples=0.2,
                    no_mutant="what fails here divides 0 by 0, which NORM-3 sees as well"),
        Requirement("NORM-5", Level.MUST, Kind.INVARIANCE, "The mini-batch twice has one loss (not with + 1).",
                    "section 4.1", replication_changes_nothing, ordinary, dtypes=FULL, examples=0.3,
                    no_mutant=_IMPLIED),
        Requirement("NORM-6", Level.MUST, Kind.INVARIANCE, "The order of images and anchors does not matter.",
                    "section 4.1", same_as(reordered, "value of the reordered mini-batch"), ordinary, dtypes=FULL,
                    examples=0.3, no_mutant=_IMPLIED),
        Requirement("NORM-7", Level.MUST, Kind.BATCH, "Per image: the mean of what the images give one by one.",
                    "section 4.1", one_image_is_itself, some_without_foreground, dtypes=FULL, examples=0.3,
                    options=("normaliser",), no_mutant=_IMPLIED),
        Requirement("NORM-8", Level.MUST, Kind.PURITY,
                    "The inputs are not written to, and equal calls give equal bits.",
                    "house rule", purity, ordinary, dtypes=FULL, examples=0.3),
        Requirement("NORM-9", Level.SHOULD, Kind.ERROR,
                    "Labels of another shape, no image and an unknown name are refused.", "house rule",
                    refuses(bad_shape("labels"), bad_option("normaliser", "per_batch"),
                            BadInput("no image", lambda c: c.with_arguments(
                                losses=c.arguments["losses"][:0], labels=c.arguments["labels"][:0]))),
                    ordinary, dtypes=FULL, examples=0.2),
    ),
    mutants=_MUTANTS,
    rulings=(
        Ruling("keep-negatives", "Without a positive the denominator is 1 and the negatives' loss is kept."),
        Ruling("anchors-not-objects", "n_b counts anchors that are assigned to an object, not objects."),
    ),
    not_applicable={
        Kind.DETACHED: "counts are integers; NORM-2 says that nothing flows through them",
        Kind.REDUCES_TO: "the dialects are told apart by NORM-1",
        Kind.LIMIT: "no limit",
        Kind.CONSERVATION: "conserves nothing",
        Kind.BOUND: "linear in the losses",
        Kind.TIES: "no threshold but n = 0, which is NORM-3",
        Kind.EXTREME: "sums are judged at every size by their own bound",
        Kind.DISTRIBUTION: "not random",
    },
)  # fmt: skip


# --- moving average -------------------------------------------------------------------------------------------


def a_state(draw: Draw) -> Case:
    """A state and the counts of some images."""
    counts = draw.integers((draw.integer(1, 4),), 1, 90)
    options = {"previous": draw.choice((100.0, 1.0, 7.5, 1e4)), "momentum": draw.choice((0.9, 0.5, 0.99, 0.25))}
    return Case({"foreground": counts}, options, draw.dtype(("float64",)))


def no_foreground(draw: Draw) -> Case:
    """Counts that are all 0."""
    case = a_state(draw)
    return case.with_arguments(foreground=np.zeros_like(case.arguments["foreground"]))


def momentum_at_its_ends(draw: Draw) -> Case:
    """Momentum 0 or 1."""
    return a_state(draw).with_options(momentum=draw.choice((0.0, 1.0)))


def fixed_point(bench: Bench, case: Case) -> None:
    """A state equal to the count stays."""
    total = float(case.arguments["foreground"].sum())
    same = case.with_options(previous=total)
    answer = np.asarray(bench.evaluate(same).outputs[0], dtype=np.float64)
    plain(bench, same, answer, np.asarray(total), "state at its fixed point")


def swapped_momentum(foreground: Array, *, previous: float, momentum: float) -> Array:
    return np.asarray(_average(foreground, previous, 1 - momentum))


def no_floor_of_one(foreground: Array, *, previous: float, momentum: float) -> Array:
    _average(foreground, previous, momentum)
    return np.asarray(momentum * previous + (1 - momentum) * np.sum(foreground))


def mean_count(foreground: Array, *, previous: float, momentum: float) -> Array:
    _average(foreground, previous, momentum)
    return np.asarray(momentum * previous + (1 - momentum) * max(1.0, float(np.mean(foreground))))


def zero_momentum_is_default(foreground: Array, *, previous: float, momentum: float) -> Array:
    return np.asarray(_average(foreground, previous, momentum or 0.9))


def average_unchecked(foreground: Array, *, previous: float, momentum: float) -> Array:
    return np.asarray(momentum * previous + (1 - momentum) * max(1, int(np.sum(foreground))))


def average_in_place(foreground: Array, *, previous: float, momentum: float) -> Array:
    result = _average(foreground, previous, momentum)
    foreground[:] = 0
    return np.asarray(result)


def _average(foreground: Array, previous: float, momentum: float) -> float:
    return oracle.moving_average_foreground(previous, foreground, momentum=momentum)


MOVING_AVERAGE_FOREGROUND = Technique(
    id="moving_average_foreground",
    title="Moving average of the foreground count",
    family="soft_sampling",
    summary="The running count of foreground anchors that detectron2 divides by.",
    sources=("detectron2's RetinaNet (no paper)",),
    oracle=oracle.moving_average_foreground,
    arguments=(Argument("foreground", ("B",), "int", "foreground anchors of each image"),),
    options=(
        Option("previous", 100.0, "the state so far, > 0"),
        Option("momentum", 0.9, "share of the state that is kept, in [0, 1]"),
    ),
    outputs=(Output("state", (), "float", "the new state"),),
    requirements=(
        Requirement("EMA-1", Level.MUST, Kind.VALUE, "The new state is momentum m + (1 - momentum) max(1, sum n).",
                    "detectron2", value, a_state, dtypes=("float64",),
                    reaches={"detectron2's start": lambda c: c.options["previous"] == 100.0},
                    no_mutant="a wrong average has another fixed point or other ends, which EMA-2 to EMA-4 see"),
        Requirement("EMA-2", Level.MUST, Kind.EMPTY, "Without foreground the count is taken as 1.", "detectron2", value,
                    no_foreground, dtypes=("float64",), examples=0.3),
        Requirement("EMA-3", Level.MUST, Kind.TIES, "momentum 0 forgets the state, momentum 1 keeps it.", "detectron2",
                    value, momentum_at_its_ends, options=("momentum",), dtypes=("float64",), examples=0.3),
        Requirement("EMA-4", Level.MUST, Kind.INVARIANCE,
                    "A state equal to the count stays.", "detectron2", fixed_point,
                    a_state, options=("previous",), dtypes=("float64",), examples=0.3,
                    no_mutant="implied by EMA-1; names the law that is broken"),
        Requirement("EMA-5", Level.MUST, Kind.PURITY, "The counts are not written to, and equal calls give equal bits.",
                    "house rule", purity, a_state, dtypes=("float64",), examples=0.3),
        Requirement("EMA-6", Level.SHOULD, Kind.ERROR, "A momentum outside [0, 1] and a state <= 0 are refused.",
                    "house rule", refuses(bad_option("momentum", 1.5), bad_option("previous", 0.0)), a_state,
                    dtypes=("float64",), examples=0.2),
    ),
    mutants=(
        Mutant("foreground-average/swapped-momentum", "momentum on the new count", swapped_momentum),
        Mutant("foreground-average/no-floor", "no floor of 1 under the count", no_floor_of_one),
        Mutant("foreground-average/mean-count", "the mean count of the images, not their sum", mean_count),
        Mutant("foreground-average/zero-momentum-is-default",
               "momentum = 0 taken as not given", zero_momentum_is_default),
        Mutant("foreground-average/unchecked", "no check of its arguments", average_unchecked),
        Mutant("foreground-average/in-place", "the counts overwritten", average_in_place),
    ),
    not_applicable={
        Kind.GRADIENT: "counts have no gradient", Kind.DETACHED: "counts have no gradient",
        Kind.REDUCES_TO: "EMA-3 says what the ends reduce to", Kind.LIMIT: "EMA-4 is its fixed point",
        Kind.CONSERVATION: "conserves nothing", Kind.BOUND: "between state and count, implied by EMA-1",
        Kind.EXTREME: "counts are small", Kind.BATCH: "a sum over images, EMA-1", Kind.DISTRIBUTION: "not random",
    },
)  # fmt: skip
