"""Contract of the loss of a detector that is trained with quality and distribution focal loss.

Li et al., "Generalized Focal Loss: Learning Qualified and Distributed Bounding Boxes for Dense Object Detection",
NeurIPS 2020 (arXiv 2006.04388), equation 8.
"""

from __future__ import annotations

from functools import partial

import numpy as np

from steelyard.conformance.checking import (
    Bench,
    bad_option,
    bad_shape,
    float_format,
    gradient,
    padding,
    purity,
    refuses,
    same_as,
    value,
    without_axes,
)
from steelyard.conformance.contract import (
    Argument,
    Array,
    Case,
    Dialect,
    Kind,
    Level,
    Option,
    OptionValue,
    Output,
    Requirement,
    Ruling,
    Technique,
)
from steelyard.conformance.generation import Draw
from steelyard.conformance.precision import round_to
from steelyard.conformance.real_data import dense_image
from steelyard.conformance.soft_sampling.focal_inputs import FULL, HALF, option
from steelyard.conformance.soft_sampling.generalized_focal_detection_mutants import MUTANTS
from steelyard.conformance.soft_sampling.soft_target_inputs import (
    GFL_PAPER,
    draw_targets,
    quality_clear_of_scores,
    quality_derivative_error,
    quality_error,
    quality_within,
    targets_by_label,
)
from steelyard.conformance.soft_sampling.softmax_laws import gradient_sums_to_zero
from steelyard.reference.logistic import sigmoid
from steelyard.reference.soft_sampling import generalized_focal_loss as oracle
from steelyard.reference.soft_sampling.distribution_focal_loss import distribution_focal_loss
from steelyard.reference.soft_sampling.quality_focal_loss import quality_focal_loss_with_labels

_FEW = 4.0

# --- inputs ---------------------------------------------------------------------------------------------------


def _case(draw: Draw, class_logits: Array, labels: Array, dtype: str) -> Case:
    sides = (*labels.shape, 4)
    bins = draw.integer(2, 3)
    quality = quality_clear_of_scores(class_logits, labels, draw_targets(draw, labels.shape, dtype))
    sixteenths = draw.array(sides, lambda: float(draw.integer(0, 15)))
    arguments = {
        "class_logits": class_logits,
        "labels": labels,
        "quality": quality,
        "distance_logits": draw.logits((*sides, bins), dtype, reach=6.0),
        "distance_targets": (bins - 1) * sixteenths / 16.0,
        "giou_losses": draw.array(labels.shape, lambda: draw.integer(0, 31) / 16),
    }
    options: dict[str, OptionValue] = {
        "beta": draw.choice((2.0, 1.0, 2.5, 1.5)),
        "giou_weight": draw.choice((2.0, 1.0, 0.5)),
        "distribution_weight": draw.choice((0.25, 1.0, 2.0)),
        "box_normaliser": draw.choice(oracle.BOX_NORMALISERS),
    }
    return Case(arguments, options, dtype)


def _batch(draw: Draw, dtype: str, fewest: int = 1) -> tuple[Array, Array]:
    shape = (draw.integer(1, 2), draw.integer(fewest, 3), draw.integer(1, 2))
    logits = draw.logits(shape, dtype, reach=6.0)
    return logits, draw.integers(shape[:-1], 0, shape[-1])


def _with_foreground(draw: Draw, dtype: str, fewest: int = 1) -> tuple[Array, Array]:
    """The first point of each image is foreground."""
    logits, labels = _batch(draw, dtype, fewest)
    labels[:, 0] = np.minimum(labels[:, 0], logits.shape[-1] - 1)
    return logits, labels


def ordinary(draw: Draw) -> Case:
    """Images with foreground and background points."""
    dtype = draw.dtype()
    return _case(draw, *_with_foreground(draw, dtype), dtype)


def some_ignored(draw: Draw) -> Case:
    """The same with ignored points."""
    dtype = draw.dtype()
    logits, labels = _with_foreground(draw, dtype, fewest=2)
    ignored = draw.array(labels.shape, lambda: float(draw.flag())) == 1.0
    ignored[:, 0], ignored[0, -1] = False, True
    return _case(draw, logits, np.where(ignored, -1, labels), dtype)


def without_foreground(draw: Draw) -> Case:
    """Only background in the first image or in all."""
    case = ordinary(draw)
    labels = case.arguments["labels"].copy()
    labels[: 1 if draw.flag() else None] = case.arguments["class_logits"].shape[-1]
    return case.with_arguments(labels=labels)


def _without_boxes(case: Case) -> Case:
    return case.with_options(giou_weight=0.0, distribution_weight=0.0)


def quality_only(draw: Draw) -> Case:
    """No weight on boxes."""
    return _without_boxes(ordinary(draw))


def some_ignored_quality_only(draw: Draw) -> Case:
    """Ignored points, no weight on boxes."""
    return _without_boxes(some_ignored(draw))


def scores_around_1(draw: Draw) -> Case:
    """Foreground scores of exactly 1/2, so that their sum is 1/2, 1 or more."""
    case = ordinary(draw)
    return case.with_arguments(class_logits=np.zeros_like(case.arguments["class_logits"])).with_options(
        box_normaliser="floored_scores"
    )


def unread(draw: Draw) -> Case:
    """NaN in everything about boxes where there is no object."""
    case = some_ignored(draw)
    outside = ~_foreground(case)
    spoilt = {
        name: np.where(np.reshape(outside, outside.shape + (1,) * (values.ndim - 2)), np.nan, values)
        for name, values in case.arguments.items()
        if name not in ("class_logits", "labels")
    }
    return case.with_arguments(**spoilt)


def extreme(draw: Draw) -> Case:
    """Class logits from 15 to 10^4."""
    dtype = draw.dtype()
    logits, labels = _with_foreground(draw, dtype)
    return _case(draw, draw.extreme_logits(logits.shape, dtype, to_the_end=False), labels, dtype)


def extreme_quality_only(draw: Draw) -> Case:
    """The same without weight on boxes."""
    return _without_boxes(extreme(draw))


def no_point(draw: Draw) -> Case:
    """Images without points."""
    dtype = draw.dtype()
    images, classes = draw.integer(1, 3), draw.integer(1, 2)
    return _case(draw, np.zeros((images, 0, classes)), np.zeros((images, 0), dtype=np.int64), dtype)


def photograph(seed: int) -> Case:
    """Every point of a real detector on a photograph."""
    image = dense_image(seed)
    quality = quality_clear_of_scores(image.class_logits, image.labels, round_to("float32", image.quality))
    arguments = {
        "class_logits": image.class_logits[None],
        "labels": image.labels[None],
        "quality": quality[None],
        "distance_logits": image.distance_logits[None],
        "distance_targets": round_to("float32", image.distance_targets)[None],
        "giou_losses": round_to("float32", image.giou_losses)[None],
    }
    options: dict[str, OptionValue] = {
        "beta": 2.0, "giou_weight": 2.0, "distribution_weight": 0.25, "box_normaliser": "floored_scores",
    }  # fmt: skip
    return Case(arguments, options, "float32", origin=f"photograph {seed % 3}")


def quality_domain(moved: Array, case: Case) -> Array:
    """Within [0, 1] where it is read; exact at the ends."""
    x, labels, quality = (case.arguments[name] for name in ("class_logits", "labels", "quality"))
    return quality_within(moved, x, labels, quality)


def distance_targets_domain(moved: Array, case: Case) -> Array:
    """Within the bins where they are read."""
    n = case.arguments["distance_logits"].shape[-1] - 1.0
    return np.where(_foreground(case)[..., None], np.clip(moved, 0.0, n), case.arguments["distance_targets"])


# --- parts of the loss, and practical errors ------------------------------------------------------------------


def _foreground(case: Case) -> Array:
    labels = case.arguments["labels"]
    return np.asarray((labels >= 0) & (labels < case.arguments["class_logits"].shape[-1]))


def _count(case: Case) -> float:
    return float(np.maximum(_foreground(case).sum(axis=1), 1).sum())


def _largest_share(case: Case) -> Array:
    """Of each point in the box terms, under the name that divides by least; 0 where there is no object."""
    highest = np.max(case.arguments["class_logits"], axis=-1, initial=-np.inf)
    scores = np.where(_foreground(case), sigmoid(highest), 0.0)
    return np.asarray(scores / (float(scores.sum()) or 1.0))


def _distance_inputs(case: Case) -> tuple[Array, Array]:
    foreground = _foreground(case)
    z = np.where(foreground[..., None, None], case.arguments["distance_logits"], 0.0)
    return z, np.where(foreground[..., None], case.arguments["distance_targets"], 0.0)


def summands(case: Case) -> tuple[int, Array]:
    """No term is negative: their sum is the loss itself, under the name that divides by least."""
    terms = case.arguments["class_logits"].size + 4 * _foreground(case).size + 2
    options = {**case.options, "box_normaliser": "scores"}
    return terms, np.asarray(oracle.generalized_focal_detection_loss(**case.arguments, **options))  # type: ignore[arg-type]


def practical_error(case: Case, u: float) -> Array:
    """The sum of what its terms lose."""
    x, labels = case.arguments["class_logits"], case.arguments["labels"]
    y = targets_by_label(x, labels, case.arguments["quality"])
    of_quality = np.where((labels != -1)[..., None], quality_error(x, y, option(case, "beta"), u), 0.0).sum()
    z, targets = _distance_inputs(case)
    sides = distribution_focal_loss(z, targets) + 1.0 + np.abs(z).max(axis=-1, initial=0.0)
    giou = np.where(_foreground(case), case.arguments["giou_losses"], 0.0)
    boxes = option(case, "giou_weight") * giou + option(case, "distribution_weight") * sides.mean(axis=-1)
    return np.asarray(of_quality / _count(case) + _FEW * u * (_largest_share(case) * boxes).sum())


def practical_gradient_error(case: Case, u: float) -> Array:
    """The largest of what any element of any of the three gradients loses."""
    x, labels = case.arguments["class_logits"], case.arguments["labels"]
    y = targets_by_label(x, labels, case.arguments["quality"])
    of_quality = np.where((labels != -1)[..., None], quality_derivative_error(x, y, option(case, "beta"), u), 0.0)
    weight = max(option(case, "giou_weight"), option(case, "distribution_weight"))
    of_boxes = 2.0 * _FEW * u * weight * np.max(_largest_share(case), initial=0.0)
    return np.asarray(max(float(np.max(of_quality, initial=0.0)) / _count(case), float(of_boxes)))


def gradient_summands(argument: str, case: Case) -> tuple[int, Array]:
    """Of the distance logits: share and weight of a bin, which cancel. The others are no sums."""
    if argument != "distance_logits":
        return 1, np.asarray(0.0)
    side = option(case, "distribution_weight") / 4.0 * _largest_share(case)
    return 2, np.broadcast_to(2.0 * side[..., None, None], case.arguments["distance_logits"].shape)


# --- laws -----------------------------------------------------------------------------------------------------


def is_quality_focal_loss(bench: Bench, case: Case) -> None:
    """Without box terms it is the quality focal loss, summed, over the foreground points of each image."""
    answer = bench.evaluate(case)
    dtype = float_format(answer.dtypes[0], case)
    x, labels, quality = (case.arguments[name] for name in ("class_logits", "labels", "quality"))
    total = float(quality_focal_loss_with_labels(x, labels, quality, beta=option(case, "beta")).sum())
    counts = [max(1, sum(1 for label in image if 0 <= label < x.shape[-1])) for image in labels]
    expected = np.asarray(total / sum(counts))
    bench.expect_close(case, answer.outputs[0], expected, bench.bounds(case, dtype), dtype, "value without box terms")


def reordered(case: Case) -> Case:
    """Images and points in reverse."""
    return case.with_arguments(**{name: values[::-1, ::-1].copy() for name, values in case.arguments.items()})


def replicated(case: Case) -> Case:
    """The mini-batch twice."""
    return case.with_arguments(**{name: np.concatenate([values, values]) for name, values in case.arguments.items()})


def replication_changes_nothing(bench: Bench, case: Case) -> None:
    """The mini-batch twice has one loss, under the names without a floor."""
    if case.options["box_normaliser"] != "floored_scores":
        same_as(replicated, "value of the mini-batch twice")(bench, case)


def _without_floor(draw: Draw) -> Case:
    case = ordinary(draw)
    return case.with_options(box_normaliser=draw.choice(("foreground", "scores")))


def _uses(name: str, case: Case) -> bool:
    return case.options["box_normaliser"] == name


def _score_sum(case: Case) -> float:
    highest = case.arguments["class_logits"].max(axis=-1, initial=-np.inf)
    return float(np.where(_foreground(case), sigmoid(highest), 0.0).sum())


_IMPLIED = "implied by GFD-1; kept because a failure then names the law that is broken"
_FIRST_ONLY = "mutants of the suite carry the gradient by the first argument only"
_PADDING = padding(
    1, class_logits=0.0, labels=-1, quality=0.0, distance_logits=0.0, distance_targets=0.0, giou_losses=0.0
)

GENERALIZED_FOCAL_DETECTION_LOSS = Technique(
    id="generalized_focal_detection_loss",
    title="Detection loss of quality and distribution focal loss",
    family="soft_sampling",
    summary="Quality focal loss of all points, GIoU and distribution focal loss of the foreground by its scores.",
    sources=(GFL_PAPER + ", equation 8", "the authors' code, implus/GFocal (dialect scores)",
             "mmdet's GFL head (dialect floored_scores)"),
    oracle=oracle.generalized_focal_detection_loss,
    gradients={
        "class_logits": oracle.generalized_focal_detection_loss_grad_class_logits,
        "distance_logits": oracle.generalized_focal_detection_loss_grad_distance_logits,
        "giou_losses": oracle.generalized_focal_detection_loss_grad_giou_losses,
    },
    arguments=(
        Argument("class_logits", ("B", "N", "C"), "float", "scores before the sigmoid", differentiable=True),
        Argument("labels", ("B", "N"), "int", "0..C-1 foreground, C background, -1 ignore"),
        Argument("quality", ("B", "N"), "float", "IoU of the predicted box with its object, read at foreground points",
                 domain=quality_domain),
        Argument("distance_logits", ("B", "N", "4", "n+1"), "float", "one score a bin, read at foreground points",
                 differentiable=True),
        Argument("distance_targets", ("B", "N", "4"), "float", "in strides, in [0, n], read at foreground points",
                 domain=distance_targets_domain),
        Argument("giou_losses", ("B", "N"), "float", "1 - GIoU, read at foreground points", differentiable=True),
    ),
    options=(
        Option("beta", 2.0, "focusing exponent of the quality focal loss, >= 0"),
        Option("giou_weight", 2.0, "weight of the GIoU losses, >= 0"),
        Option("distribution_weight", 0.25, "weight of the mean distribution focal loss of a box's sides, >= 0"),
        Option("box_normaliser", "floored_scores", f"one of {', '.join(oracle.BOX_NORMALISERS)}"),
    ),
    outputs=(Output("loss", (), "float", "the loss of the mini-batch"),),
    practical_error=practical_error,
    practical_gradient_error=practical_gradient_error,
    summands=summands,
    gradient_summands=gradient_summands,
    dialects=(
        Dialect("foreground", "box terms over the number of foreground points: equation 8 read literally",
                {"box_normaliser": "foreground"}, departs_from_paper=False),
        Dialect("floored_scores", "box terms over the sum of the foreground's scores, at least 1",
                {"box_normaliser": "floored_scores"}),
        Dialect("scores", "box terms over the sum of the foreground's scores", {"box_normaliser": "scores"}),
    ),
    requirements=(
        Requirement("GFD-1", Level.MUST, Kind.VALUE,
                    "The loss is the quality term over the foreground count and the box terms by their shares.",
                    "equation 8", value, ordinary, scenes=(photograph,), dtypes=FULL,
                    reaches={f"normaliser {name}": partial(_uses, name) for name in oracle.BOX_NORMALISERS}
                    | {"a sum of scores below 1": lambda c: _score_sum(c) < 1,
                       "a sum of scores above 1": lambda c: _score_sum(c) > 1}),
        Requirement("GFD-2", Level.MUST, Kind.GRADIENT,
                    "The gradient by the class logits is that of the quality term over the count.",
                    "derivative of equation 8", gradient("class_logits"), quality_only, needs_gradient=True,
                    options=("giou_weight", "distribution_weight"), dtypes=FULL, examples=0.5,
                    no_mutant="a wrong derivative of the quality term is wrong beside box terms too, as GFD-3 sees"),
        Requirement("GFD-3", Level.MUST, Kind.DETACHED,
                    "The weights of the box terms are constants: nothing of these reaches the class logits.",
                    "ruling constant-weights", gradient("class_logits"), ordinary, needs_gradient=True, dtypes=FULL,
                    examples=0.6),
        Requirement("GFD-4", Level.MUST, Kind.GRADIENT,
                    "The gradient by the distance logits is that of the sides' distribution focal loss by their share.",
                    "derivative of equation 8", gradient("distance_logits"), ordinary, needs_gradient=True,
                    dtypes=FULL, examples=0.6, no_mutant=_FIRST_ONLY),
        Requirement("GFD-5", Level.MUST, Kind.GRADIENT,
                    "The gradient by a GIoU loss is its weight.", "derivative of equation 8", gradient("giou_losses"),
                    ordinary, needs_gradient=True, dtypes=FULL, examples=0.5, no_mutant=_FIRST_ONLY),
        Requirement("GFD-6", Level.MUST, Kind.EMPTY,
                    "An image without foreground counts one; without any the box terms are 0.",
                    "ruling floored-count", value, without_foreground, dtypes=FULL, examples=0.5,
                    reaches={"no foreground at all": lambda c: not _foreground(c).any(),
                             "foreground in another image": lambda c: bool(
                                 _foreground(c).any() and not _foreground(c)[0].any())}),
        Requirement("GFD-7", Level.MUST, Kind.EMPTY, "Images without points have loss 0.", "ruling floored-count",
                    value, no_point, dtypes=FULL, examples=0.2),
        Requirement("GFD-8", Level.MUST, Kind.TIES, "The sum of scores is floored at 1, from there on as it is.",
                    "ruling floored-scores", value, scores_around_1, dtypes=FULL, examples=0.5, no_mutant=_IMPLIED,
                    reaches={"a sum of exactly 1": lambda c: _score_sum(c) == 1}),
        Requirement("GFD-9", Level.MUST, Kind.REDUCES_TO,
                    "Without weight on boxes it is the quality focal loss over the foreground count.", "equation 8",
                    is_quality_focal_loss, quality_only, options=("giou_weight", "distribution_weight"), dtypes=FULL,
                    examples=0.3),
        Requirement("GFD-10", Level.MUST, Kind.EMPTY, "An ignored point counts nothing.", "ruling ignore", value,
                    some_ignored, dtypes=FULL, examples=0.5,
                    no_mutant="an ignored point that counts does so at the end of an image too, where GFD-16 sees it"),
        Requirement("GFD-11", Level.MUST, Kind.DETACHED, "An ignored point has gradient 0.", "ruling ignore",
                    gradient("class_logits"), some_ignored_quality_only, needs_gradient=True, dtypes=FULL,
                    examples=0.5),
        Requirement("GFD-12", Level.SHOULD, Kind.EXTREME,
                    "Nothing about boxes is read where there is no object; NaN may stand there.", "equation 8", value,
                    unread, dtypes=FULL, examples=0.5),
        Requirement("GFD-13", Level.MUST, Kind.EXTREME, "The value follows the formula for class logits up to 10^4.",
                    "no epsilon, no clamp", value, extreme, dtypes=FULL, examples=0.5),
        Requirement("GFD-14", Level.MUST, Kind.EXTREME,
                    "The gradient follows its formula for class logits up to 10^4.", "no epsilon, no clamp",
                    gradient("class_logits"), extreme_quality_only, needs_gradient=True, dtypes=FULL, examples=0.5),
        Requirement("GFD-15", Level.SHOULD, Kind.EXTREME, "Half-precision inputs give the value computed in float32.",
                    "house rule", value, ordinary, dtypes=HALF, examples=0.5),
        Requirement("GFD-16", Level.MUST, Kind.BATCH, "Ignored points at the end of the images change nothing.",
                    "ruling ignore", _PADDING, ordinary, dtypes=FULL, examples=0.3, no_mutant=_IMPLIED),
        Requirement("GFD-17", Level.MUST, Kind.INVARIANCE, "The order of images and points does not matter.",
                    "equation 8", same_as(reordered, "value of the reordered mini-batch"), ordinary, dtypes=FULL,
                    examples=0.3, no_mutant=_IMPLIED),
        Requirement("GFD-18", Level.MUST, Kind.INVARIANCE,
                    "The mini-batch twice has one loss (where nothing is floored).", "equation 8",
                    replication_changes_nothing, _without_floor, options=("box_normaliser",), dtypes=FULL,
                    examples=0.3, no_mutant=_IMPLIED),
        Requirement("GFD-19", Level.MUST, Kind.CONSERVATION, "The gradient of a side sums to 0 over its bins.",
                    "derivative of equation 6", gradient_sums_to_zero("distance_logits"), ordinary,
                    needs_gradient=True, dtypes=FULL, examples=0.3, no_mutant=_FIRST_ONLY),
        Requirement("GFD-20", Level.MUST, Kind.PURITY,
                    "The inputs are not written to, and equal calls give equal bits.", "house rule", purity, ordinary,
                    dtypes=FULL, examples=0.3),
        Requirement("GFD-21", Level.SHOULD, Kind.ERROR, "Labels that do not fit the logits are refused.",
                    "house rule", refuses(bad_shape("labels"), without_axes("class_logits"),
                                          without_axes("distance_logits")), ordinary, dtypes=FULL, examples=0.2),
        Requirement("GFD-22", Level.MAY, Kind.ERROR, "Negative options and an unknown name are refused.",
                    "house rule",
                    refuses(bad_option("beta", -1.0), bad_option("giou_weight", -1.0),
                            bad_option("distribution_weight", -1.0), bad_option("box_normaliser", "points")),
                    ordinary, dtypes=FULL, examples=0.2),
        Requirement("GFD-23", Level.MUST, Kind.EMPTY,
                    "The gradient by the class logits counts an image without foreground as one, too.",
                    "ruling floored-count", gradient("class_logits"),
                    lambda draw: _without_boxes(without_foreground(draw)), needs_gradient=True, dtypes=FULL,
                    examples=0.4),
        Requirement("GFD-24", Level.MUST, Kind.EMPTY, "Without foreground the distance logits have gradient 0.",
                    "ruling floored-count", gradient("distance_logits"), without_foreground, needs_gradient=True,
                    dtypes=FULL, examples=0.3, no_mutant=_FIRST_ONLY),
    ),
    mutants=MUTANTS,
    rulings=(
        Ruling("mean-of-sides", "The paper's 1/4 is on the mean of a box's four sides, as in both codes: a side weighs "
               "1/16."),
        Ruling("constant-weights", "The paper's quality scores are the points' own highest scores, as constants."),
        Ruling("floored-count", "The foreground of an image counts at least one."),
        Ruling("floored-scores", "The sum of scores is floored at 1 (mmdet); the authors' code has no floor."),
        Ruling("ignore", "Label -1 contributes nothing and is not counted."),
    ),
    not_applicable={
        Kind.LIMIT: "GFD-13 and GFD-14 compare with the formula itself at large logits",
        Kind.BOUND: "a sum of losses that are not negative, each bounded in its own contract",
        Kind.DISTRIBUTION: "not random",
    },
)  # fmt: skip
