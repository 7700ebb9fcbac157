"""Contracts of PISA's positives: IoU hierarchical local rank and importance-based sample reweighting.

Cao, Chen, Loy, Lin, "Prime Sample Attention in Object Detection", CVPR 2020 (arXiv 1904.04821).
"""

from __future__ import annotations

from dataclasses import replace

import numpy as np

from steelyard.conformance.checking import (
    Bench,
    bad_option,
    bad_shape,
    float_format,
    padding,
    purity,
    reduces_to,
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
    Option,
    OptionValue,
    Output,
    Requirement,
    Ruling,
    Technique,
)
from steelyard.conformance.generation import Draw
from steelyard.conformance.judging import plain_bounds
from steelyard.conformance.precision import PRECISIONS, round_to
from steelyard.conformance.soft_sampling.focal_inputs import FULL, HALF, option
from steelyard.conformance.soft_sampling.pisa_mutants import RANK_MUTANTS, WEIGHT_MUTANTS
from steelyard.reference.soft_sampling import pisa as oracle

_PAPER = 'Cao et al., "Prime Sample Attention in Object Detection", CVPR 2020, arXiv 1904.04821'
_REVIEW = 'Oksuz et al., "Imbalance Problems in Object Detection: A Review", TPAMI 2020, equations 5-6'
_CLASSES = 3
_GRID = 2.0**20

# --- inputs of both -------------------------------------------------------------------------------------------


def _samples(draw: Draw, shape: tuple[int, ...]) -> dict[str, Array]:
    """IoUs that are distinct multiples of 1/64, and what they belong to: mostly positives of two classes."""
    size = int(np.prod(shape))
    order = np.argsort(np.argsort(draw.array((size,), draw.fraction), kind="stable"), kind="stable")
    labels = draw.array(shape, lambda: float(draw.choice((0, 0, 0, 1, 1, 2, _CLASSES, -1)))).astype(np.int64)
    gt_index = draw.integers(shape, 0, 2)
    rows = np.broadcast_to(np.arange(shape[0])[:, None], shape).copy()
    return {
        "iou": (2.0 * order.reshape(shape) + 1.0) / 64.0,
        "labels": labels,
        "gt_index": np.where(labels == _CLASSES, -1, gt_index),
        "image_index": rows,
    }


def _options(draw: Draw) -> dict[str, OptionValue]:
    return {"num_classes": _CLASSES}


def ordinary(draw: Draw) -> Case:
    """One or two images of up to eight samples, sometimes in one row with the images mixed."""
    images = draw.integer(1, 2)
    arguments = _samples(draw, (images, draw.integer(1, 8)))
    if draw.flag(30):
        size = arguments["iou"].size
        arguments = {name: values.T.reshape(size).copy() for name, values in arguments.items()}
    return Case(arguments, _options(draw), draw.dtype())


def three_images(draw: Draw) -> Case:
    """Three images or four, each with positives of the same class."""
    shape = (draw.integer(3, 4), draw.integer(2, 6))
    arguments = _samples(draw, shape)
    arguments["labels"][:, :2] = 0
    arguments["gt_index"] = np.maximum(arguments["gt_index"], 0)
    return Case(arguments, _options(draw), draw.dtype())


def equal_overlaps(draw: Draw) -> Case:
    """Few different IoUs."""
    case = ordinary(draw)
    return case.with_arguments(iou=np.floor(case.arguments["iou"] * 4.0) / 4.0)


def both_ends(draw: Draw) -> Case:
    """The second best box of an object with IoU 1, the best one of another with IoU 0."""
    case = ordinary(draw)
    arguments = {name: np.atleast_2d(values)[:1, :1].repeat(4, axis=1) for name, values in case.arguments.items()}
    arguments["labels"] = np.zeros((1, 4), dtype=np.int64)
    overlaps, objects = draw.choice((([1.0, 1.0, 0.0, 0.0], [0, 0, 1, 1]), ([0.0, 1.0, 0.25, 1.0], [1, 0, 2, 0])))
    arguments["iou"], arguments["gt_index"] = np.array([overlaps]), np.array([objects])
    return Case(arguments, case.options, case.dtype)


def nothing_to_rank(draw: Draw) -> Case:
    """No sample, or none of the foreground."""
    case = ordinary(draw)
    if draw.flag():
        return case.with_arguments(labels=np.where(case.arguments["labels"] >= 0, _CLASSES, -1))
    return case.with_arguments(**{name: values[..., :0] for name, values in case.arguments.items()})


def some_nan(draw: Draw) -> Case:
    """One overlap of a box that is not a number."""
    case = ordinary(draw)
    iou = case.arguments["iou"].copy()
    iou.flat[draw.integer(0, iou.size - 1)] = np.nan
    return case.with_arguments(iou=iou)


def without_image_index(draw: Draw) -> Case:
    """Images along one axis, along two, or one image without an axis; nothing says which a sample belongs to."""
    arguments = _samples(draw, (draw.integer(1, 2), draw.integer(1, 6)))
    arguments["labels"][arguments["labels"] == -1] = _CLASSES
    del arguments["image_index"]
    place = draw.choice((np.newaxis, ..., 0))
    return Case({name: values[place].copy() for name, values in arguments.items()}, _options(draw), draw.dtype())


def _crowd(seed: int) -> dict[str, Array]:
    """Two images of 3,000 samples over three classes, twenty objects an image, IoUs as near as 2^-16."""
    random = np.random.default_rng(seed)
    shape = (2, 3000)
    labels = np.where(random.random(shape) < 0.3, 0, _CLASSES)
    labels = np.where(random.random(shape) < 0.1, random.integers(-1, _CLASSES, shape), labels)
    order = random.permutation(labels.size).reshape(shape)
    return {
        "iou": (order + 1.0) / 2.0**16,
        "labels": labels,
        "gt_index": random.integers(0, 20, shape),
        "image_index": np.broadcast_to(np.arange(2)[:, None], shape).copy(),
    }


def crowd(seed: int) -> Case:
    """Two images with hundreds of positives of one class."""
    return Case(_crowd(seed), {"num_classes": _CLASSES}, "float32", origin=f"scene {seed}")


def on_the_grid(moved: Array, case: Case) -> Array:
    """An overlap that was moved a little, brought back: only the order counts."""
    return np.asarray(np.round(moved * _GRID) / _GRID)


def _several_objects(case: Case) -> bool:
    of_first = case.arguments["labels"] == 0
    return len(np.unique(case.arguments["gt_index"][of_first])) > 1 and of_first.sum() > 2


def _positives(case: Case) -> Array:
    labels = case.arguments["labels"]
    return np.asarray((labels >= 0) & (labels < _CLASSES))


# --- laws -----------------------------------------------------------------------------------------------------


def ranks_are_a_permutation(bench: Bench, case: Case) -> None:
    """Of every class 0..n_j - 1, the best box of every object before all other boxes."""
    rank = np.asarray(bench.evaluate(case).outputs[0])
    arguments = case.arguments
    for j in range(_CLASSES):
        members = arguments["labels"] == j
        found = sorted(rank[members].tolist())
        bench.expect(found == list(range(len(found))), f"ranks {found} of class {j}", case)
        objects = {(i, g) for i, g in zip(arguments["image_index"][members], arguments["gt_index"][members],
                                          strict=True)}  # fmt: skip
        first = members & (rank < len(objects)) & (rank >= 0)
        leaders = {(i, g) for i, g in zip(arguments["image_index"][first], arguments["gt_index"][first],
                                          strict=True)}  # fmt: skip
        bench.expect(leaders == objects, f"the first {len(objects)} of class {j} are of {len(leaders)} objects", case)
    bench.expect(bool((rank[~_positives(case)] == -1).all()), "a rank of what is not positive", case)


def only_the_order_counts(case: Case) -> Case:
    """Another measure of localisation with the same order, between -4 and 12."""
    return case.with_arguments(iou=16.0 * case.arguments["iou"] - 4.0)


def renamed(case: Case) -> Case:
    """Other numbers for the classes, images and objects."""
    arguments = case.arguments
    labels = np.where(_positives(case), _CLASSES - 1 - arguments["labels"], arguments["labels"])
    return case.with_arguments(
        labels=labels, image_index=7 - 3 * arguments["image_index"], gt_index=5 - arguments["gt_index"]
    )


def reordered(case: Case) -> Case:
    """All samples in reverse."""
    return case.with_arguments(**{name: np.flip(values).copy() for name, values in case.arguments.items()})


def _flip(output: Array, case: Case) -> Array:
    # of channels, the losses are reversed along with their samples, which changes no sum
    return np.flip(output)


def _padding_of_all(bench: Bench, case: Case) -> None:
    fill = {"iou": 0.5, "labels": -1, "gt_index": 0, "image_index": 0}
    extra = {"classification_losses": 9.0, "label_weights": 1.0}
    padding(-1, **fill, **{name: number for name, number in extra.items() if name in case.arguments})(bench, case)


# --- IoU-HLR --------------------------------------------------------------------------------------------------

_IMPLIED = "implied by the values; kept because a failure then names the law that is broken"
_ARGUMENTS = {
    "iou": Argument("iou", ("...", "N"), "float", "overlap of the regressed box with its ground truth",
                    domain=on_the_grid),
    "labels": Argument("labels", ("...", "N"), "int", "0..C-1 foreground, C background, -1 ignore"),
    "gt_index": Argument("gt_index", ("...", "N"), "int", "ground-truth box, counted within its image"),
    "image_index": Argument("image_index", ("...", "N"), "int", "image of each sample"),
}  # fmt: skip

IOU_HIERARCHICAL_LOCAL_RANK = Technique(
    id="iou_hierarchical_local_rank",
    title="IoU hierarchical local rank (PISA)",
    family="soft_sampling",
    summary="Rank of every positive in its class: the best box of each object first, then every second best.",
    sources=(_PAPER,),
    oracle=oracle.iou_hierarchical_local_rank,
    arguments=tuple(_ARGUMENTS.values()),
    options=(Option("num_classes", 80, "C"),),
    outputs=(Output("ranks", ("...", "N"), "int", "0 is the best of the class; -1 for what is not positive"),),
    requirements=(
        Requirement("IH-1", Level.MUST, Kind.VALUE,
                    "Positives of a class are ordered by their rank in the object, then by their IoU.",
                    "section 3, IoU-HLR", value, ordinary, scenes=(crowd,),
                    reaches={"several objects of one class": _several_objects}),
        Requirement("IH-2", Level.MUST, Kind.VALUE, "Objects of three images and more stay apart.", "ruling objects",
                    value, three_images, dtypes=FULL, examples=0.5),
        Requirement("IH-3", Level.MUST, Kind.TIES, "Of equal IoU the lower index goes first.", "ruling ties", value,
                    equal_overlaps, dtypes=FULL),
        Requirement("IH-4", Level.MUST, Kind.TIES, "A second best box of IoU 1 goes after a best one of IoU 0.",
                    "section 3, IoU-HLR", value, both_ends, examples=0.3,
                    no_mutant="one float32 for both criteria fails in the scene of IH-1 and in IH-8 too"),
        Requirement("IH-5", Level.MUST, Kind.EMPTY, "Without samples or positives there is no rank.",
                    "ruling elsewhere", value, nothing_to_rank, examples=0.3),
        Requirement("IH-6", Level.MAY, Kind.EXTREME, "NaN is lower than every number.", "ruling NaN", value, some_nan,
                    dtypes=FULL, examples=0.5),
        Requirement("IH-7", Level.MUST, Kind.BOUND,
                    "The ranks of a class are 0..n_j - 1, and the best box of every object comes first.",
                    "section 3, IoU-HLR", ranks_are_a_permutation, ordinary, examples=0.3, no_mutant=_IMPLIED),
        Requirement("IH-8", Level.MUST, Kind.INVARIANCE, "Only the order of the IoUs counts.", "section 3, IoU-HLR",
                    same_as(only_the_order_counts, "rank by another measure"), ordinary, dtypes=FULL, examples=0.3,
                    no_mutant="one float32 for both criteria, which it finds, fails in IH-1's scene too"),
        Requirement("IH-9", Level.MUST, Kind.INVARIANCE, "The numbers of classes, images and objects mean nothing.",
                    "section 3, IoU-HLR", same_as(renamed, "rank with other numbers"), ordinary, examples=0.3,
                    no_mutant=_IMPLIED),
        Requirement("IH-10", Level.MUST, Kind.INVARIANCE, "Reordering the samples reorders the ranks.",
                    "section 3, IoU-HLR", same_as(reordered, "rank of the reordered samples", _flip), ordinary,
                    examples=0.3, no_mutant=_IMPLIED),
        Requirement("IH-11", Level.MUST, Kind.BATCH, "Ignored samples at the end change nothing.", "padding",
                    _padding_of_all, ordinary, examples=0.3, no_mutant=_IMPLIED),
        Requirement("IH-12", Level.MUST, Kind.PURITY, "The inputs are not written to, and equal calls agree.",
                    "house rule", purity, ordinary, examples=0.3),
        Requirement("IH-13", Level.SHOULD, Kind.ERROR, "IoUs of another shape than the labels' are refused.",
                    "house rule", refuses(bad_shape("iou")), ordinary, examples=0.2),
        Requirement("IH-14", Level.MAY, Kind.ERROR, "A number of classes below 1 is refused.", "house rule",
                    refuses(bad_option("num_classes", 0)), ordinary, examples=0.2),
        Requirement("IH-15", Level.SHOULD, Kind.BATCH, "Without an index images lie along the axes before the last.",
                    "shape (..., N)", value, without_image_index, dtypes=FULL, examples=0.5),
    ),
    mutants=RANK_MUTANTS,
    rulings=(
        Ruling("objects", "An object is the pair of image and ground-truth index, whatever the number of images."),
        Ruling("ties", "Of equal IoU the lower index goes first."),
        Ruling("NaN", "NaN is lower than every number."),
        Ruling("elsewhere", "Background and ignored samples have rank -1."),
    ),
    not_applicable={
        Kind.GRADIENT: "a rank has no gradient", Kind.DETACHED: "a rank has no gradient",
        Kind.REDUCES_TO: "IH-7 has the order of the objects", Kind.LIMIT: "no limit",
        Kind.CONSERVATION: "IH-7 counts the ranks", Kind.DISTRIBUTION: "not random",
    },
)  # fmt: skip


# --- ISR-P: inputs and laws -----------------------------------------------------------------------------------


def _weighed(draw: Draw, case: Case, *, largest: float = 4.0) -> Case:
    shape = case.arguments["iou"].shape
    losses = round_to(case.dtype, draw.array(shape, lambda: largest * draw.fraction() + 0.01))
    options: dict[str, OptionValue] = {
        **case.options,
        "gamma": draw.choice((2.0, 1.0, 0.5, 3.0)),
        "beta": draw.choice((0.0, 0.2, 0.5)),
        "denominator": draw.choice(oracle.DENOMINATORS),
    }
    iou, *rest = case.arguments.items()
    arguments = dict([iou, ("classification_losses", losses), *rest])
    ones = (case.arguments["labels"] >= 0).astype(np.float64)
    return Case({**arguments, "label_weights": ones}, options, case.dtype)


def weighed(draw: Draw) -> Case:
    """Losses between 0.01 and 4, label weights 1, of ignored samples 0."""
    return _weighed(draw, ordinary(draw))


def weighed_three_images(draw: Draw) -> Case:
    """The same over three images or four."""
    return _weighed(draw, three_images(draw))


def weighed_equal_overlaps(draw: Draw) -> Case:
    """The same with few different IoUs."""
    return _weighed(draw, equal_overlaps(draw))


def weighed_nothing(draw: Draw) -> Case:
    """The same without samples or without positives."""
    return _weighed(draw, nothing_to_rank(draw))


def weighed_nan(draw: Draw) -> Case:
    """The same with NaN among the IoUs."""
    return _weighed(draw, some_nan(draw))


def channels(draw: Draw) -> Case:
    """Losses of the channels of a sigmoid head."""
    case = weighed(draw)
    shape = (*case.arguments["iou"].shape, draw.integer(2, 3))
    losses = round_to(case.dtype, draw.array(shape, lambda: 4.0 * draw.fraction() + 0.01))
    return case.with_arguments(classification_losses=losses)


def ignored_with_weight(draw: Draw) -> Case:
    """Ignored samples that have a label weight all the same."""
    case = weighed(draw)
    return case.with_arguments(label_weights=np.ones(case.arguments["iou"].shape))


def label_weights(draw: Draw) -> Case:
    """Label weights other than 1, 0 among them."""
    case = weighed(draw)
    shape = case.arguments["iou"].shape
    drawn = draw.array(shape, lambda: draw.choice((1.0, 0.0, 2.0, 0.5)))
    return case.with_arguments(label_weights=np.where(case.arguments["labels"] == -1, 0.0, drawn))


def weighed_without_image_index(draw: Draw) -> Case:
    """The same without an index of the images, and without label weights."""
    case = _weighed(draw, without_image_index(draw))
    return replace(case, arguments={name: v for name, v in case.arguments.items() if name != "label_weights"})


def broken_elsewhere(draw: Draw) -> Case:
    """NaN for the losses of samples that are not positive."""
    case = weighed(draw)
    return case.with_arguments(
        classification_losses=np.where(_positives(case), case.arguments["classification_losses"], np.nan)
    )


def no_weighed_loss(draw: Draw) -> Case:
    """A perfect score for the first of every class, and next to no importance of the others."""
    case = weighed(draw).with_options(gamma=2.0**14, beta=0.0)
    ranked = {name: case.arguments[name] for name in ("iou", "labels", "gt_index", "image_index")}
    first = oracle.iou_hierarchical_local_rank(**ranked, num_classes=_CLASSES) == 0
    return case.with_arguments(classification_losses=np.where(first, 0.0, case.arguments["classification_losses"]))


def no_loss(draw: Draw) -> Case:
    """Perfect scores: every loss is 0."""
    case = weighed(draw)
    return case.with_arguments(classification_losses=np.zeros(case.arguments["iou"].shape))


def some_without_loss(draw: Draw) -> Case:
    """Perfect scores here and there, but for the positive that counts most: its loss is kept."""
    case = weighed(draw)
    losses, label_weights = case.arguments["classification_losses"], case.arguments["label_weights"]
    of_sample = losses if losses.ndim == label_weights.ndim else losses.sum(axis=-1)
    counts = np.where(_positives(case), of_sample * label_weights, 0.0)
    perfect = (draw.array(counts.shape, lambda: float(draw.flag(30))) == 1.0) & (counts < counts.max(initial=0.0))
    perfect = perfect.reshape(perfect.shape + (1,) * (losses.ndim - perfect.ndim))
    return case.with_arguments(classification_losses=np.where(perfect, 0.0, losses))


def flat(draw: Draw) -> Case:
    """With gamma 0 or beta 1."""
    return weighed(draw).with_options(**draw.choice(({"gamma": 0.0}, {"beta": 1.0})))


def huge_losses(draw: Draw) -> Case:
    """Losses whose sum is beyond the format, or whose products are below it."""
    case = weighed(draw)
    size = draw.choice((PRECISIONS[case.dtype].largest, 1e-30))
    losses = round_to(case.dtype, size * (case.arguments["classification_losses"] / 4.5))
    return case.with_arguments(classification_losses=losses)


def half(draw: Draw) -> Case:
    """Losses up to 16,384 in half precision: the sum is beyond float16."""
    case = weighed(draw)
    return case.with_arguments(
        classification_losses=round_to(case.dtype, case.arguments["classification_losses"] * draw.choice((1.0, 8192.0)))
    )


def weighed_crowd(seed: int) -> Case:
    """The scene with losses of a trained head: mostly small."""
    random = np.random.default_rng(seed)
    crowded = _crowd(seed)
    losses = round_to("float32", random.exponential(0.5, crowded["iou"].shape))
    arguments = {"iou": crowded["iou"], "classification_losses": losses, **crowded,
                 "label_weights": (crowded["labels"] >= 0).astype(np.float64)}  # fmt: skip
    options: dict[str, OptionValue] = {"num_classes": _CLASSES, "gamma": 2.0, "beta": 0.0, "denominator": "class"}
    return Case(arguments, options, "float32", origin=f"scene {seed}")


def losses_are_conserved(bench: Bench, case: Case) -> None:
    """The weighed losses of the positives add up to what they did with their label weights."""
    answer = bench.evaluate(case)
    weights, dtype = np.asarray(answer.outputs[0], dtype=np.float64), float_format(answer.dtypes[0], case)
    of = _positives(case)
    losses, a = case.arguments["classification_losses"][of], case.arguments["label_weights"][of]
    total, kept = np.asarray((weights[of] * losses).sum()), np.asarray((a * losses).sum())
    bench.expect_close(case, total, kept, plain_bounds(case, kept, dtype), dtype, "sum of the losses")


def label_weights_alone(case: Case) -> Array:
    """What gamma = 0 leaves: the label weights, 0 for ignored samples."""
    return np.where(case.arguments["labels"] == -1, 0.0, case.arguments["label_weights"])


def practical_error(case: Case, u: float) -> Array:
    """The base of the power is off by a few roundoffs relatively, the power by gamma times that."""
    return 4.0 * u * (1.0 + option(case, "gamma")) * summands(case)[1]


def summands(case: Case) -> tuple[int, Array]:
    """The ratio is of two sums of positive terms, each off relatively by its summation; in either dialect."""
    of_each = [
        oracle.isr_p_weights(**case.arguments, **{**case.options, "denominator": name})  # type: ignore[arg-type]
        for name in oracle.DENOMINATORS
    ]
    return max(case.arguments["classification_losses"].size, 1), np.maximum(*of_each)


_LOSSES = Argument("classification_losses", ("...", "N"), "float", "loss of each sample, or of its channels on a last "
                   "axis more; a constant")  # fmt: skip

ISR_P_WEIGHTS = Technique(
    id="isr_p_weights",
    title="Importance-based sample reweighting of positives (ISR-P, PISA)",
    family="soft_sampling",
    summary="Weights of the classification loss that fall with the IoU hierarchical local rank and keep its sum.",
    sources=(_PAPER, _REVIEW),
    oracle=oracle.isr_p_weights,
    arguments=(
        _ARGUMENTS["iou"], _LOSSES, _ARGUMENTS["labels"], _ARGUMENTS["gt_index"], _ARGUMENTS["image_index"],
        Argument("label_weights", ("...", "N"), "float", "weight of each sample before"),
    ),
    options=(
        Option("num_classes", 80, "C"),
        Option("gamma", 2.0, "degree of preference for prime samples"),
        Option("beta", 0.0, "weight of the last rank in proportion to the first one's"),
        Option("denominator", "class", "positives of the class, or of the class that has most"),
    ),
    outputs=(Output("weights", ("...", "N"), "float", "weight of each sample in the classification loss"),),
    requirements=(
        Requirement("IP-1", Level.MUST, Kind.VALUE,
                    "w = ((1 - beta) u + beta)^gamma with u falling with the rank, times one ratio for all.",
                    "equations 5-6; section 3, ISR", value, weighed, scenes=(weighed_crowd,), dtypes=FULL,
                    reaches={"several objects of one class": _several_objects,
                             "one denominator for all": lambda c: c.options["denominator"] == "max"}),
        Requirement("IP-2", Level.MUST, Kind.VALUE, "Objects of three images and more stay apart.", "ruling objects",
                    value, weighed_three_images, dtypes=FULL, examples=0.5),
        Requirement("IP-3", Level.MUST, Kind.VALUE, "Losses of several channels are summed.", "section 3, ISR", value,
                    channels, dtypes=FULL, examples=0.5),
        Requirement("IP-4", Level.MUST, Kind.VALUE,
                    "Label weights stand outside of the power; a positive of weight 0 has no rank.",
                    "ruling label weights", value, label_weights, dtypes=FULL),
        Requirement("IP-5", Level.SHOULD, Kind.VALUE, "An ignored sample has weight 0.", "ruling ignored", value,
                    ignored_with_weight, dtypes=FULL, examples=0.3),
        Requirement("IP-6", Level.MUST, Kind.TIES, "Of equal IoU the lower index goes first.", "ruling ties", value,
                    weighed_equal_overlaps, dtypes=FULL),
        Requirement("IP-7", Level.MUST, Kind.EMPTY, "Without positives the label weights stay.", "ruling empty", value,
                    weighed_nothing, dtypes=FULL, examples=0.3),
        Requirement("IP-8", Level.MUST, Kind.EMPTY, "Where every loss is 0 the ratio is 1.", "ruling empty", value,
                    no_loss, dtypes=FULL, examples=0.3,
                    no_mutant="a ratio without a guard fails IP-23 too; this names the ordinary case"),
        Requirement("IP-9", Level.MUST, Kind.REDUCES_TO, "At gamma 0 or beta 1 all label weights stay.",
                    "equations 5-6", reduces_to(label_weights_alone), flat,
                    dtypes=FULL, examples=0.3),
        Requirement("IP-10", Level.MUST, Kind.CONSERVATION, "The sum of the losses is kept.", "section 3, ISR",
                    losses_are_conserved, some_without_loss, dtypes=FULL, examples=0.3, no_mutant=_IMPLIED),
        Requirement("IP-11", Level.MUST, Kind.INVARIANCE, "Only the order of the IoUs counts.", "section 3, IoU-HLR",
                    same_as(only_the_order_counts, "weight by another measure"), weighed, dtypes=FULL, examples=0.3,
                    no_mutant=_IMPLIED),
        Requirement("IP-12", Level.MUST, Kind.INVARIANCE, "The numbers of classes, images and objects mean nothing.",
                    "section 3, IoU-HLR", same_as(renamed, "weight with other numbers"), weighed, dtypes=FULL,
                    examples=0.3, no_mutant=_IMPLIED),
        Requirement("IP-13", Level.MUST, Kind.INVARIANCE, "Reordering the samples reorders the weights.",
                    "section 3, IoU-HLR", same_as(reordered, "weight of the reordered samples", _flip), weighed,
                    dtypes=FULL, examples=0.3, no_mutant=_IMPLIED),
        Requirement("IP-14", Level.MUST, Kind.BATCH, "Ignored samples at the end change nothing.", "padding",
                    _padding_of_all, weighed, dtypes=FULL, examples=0.3, no_mutant=_IMPLIED),
        Requirement("IP-15", Level.SHOULD, Kind.EXTREME, "Half precision works, sums beyond its range included.",
                    "house rule", value, half, dtypes=HALF, examples=0.5),
        Requirement("IP-16", Level.MAY, Kind.EXTREME, "The unit of the losses does not matter.", "equations 5-6", value,
                    huge_losses, dtypes=FULL, examples=0.5),
        Requirement("IP-17", Level.MAY, Kind.EXTREME, "An IoU that is NaN is lower than every number.", "ruling NaN",
                    value, weighed_nan, dtypes=FULL, examples=0.5),
        Requirement("IP-18", Level.MUST, Kind.PURITY, "The inputs are not written to, and equal calls agree.",
                    "house rule", purity, weighed, dtypes=FULL, examples=0.3),
        Requirement("IP-19", Level.SHOULD, Kind.ERROR, "Losses of another shape than the labels' are refused.",
                    "house rule", refuses(bad_shape("classification_losses")), weighed, dtypes=FULL, examples=0.2),
        Requirement("IP-20", Level.MAY, Kind.ERROR, "A negative gamma and a beta outside [0, 1] are refused.",
                    "house rule", refuses(bad_option("gamma", -1.0), bad_option("beta", 1.5)), weighed, dtypes=FULL,
                    examples=0.2),
        Requirement("IP-21", Level.SHOULD, Kind.BATCH,
                    "Without an index images lie along the axes before the last; without label weights these are 1.",
                    "shape (..., N)", value, weighed_without_image_index, dtypes=FULL, examples=0.5),
        Requirement("IP-22", Level.MAY, Kind.EXTREME, "Losses of samples that are not positive are not looked at.",
                    "section 3, ISR", value, broken_elsewhere, dtypes=FULL, examples=0.3),
        Requirement("IP-23", Level.MAY, Kind.EMPTY, "Where the importance leaves no loss the ratio is 1.",
                    "ruling empty", value, no_weighed_loss, dtypes=FULL, examples=0.3),
    ),
    mutants=WEIGHT_MUTANTS,
    practical_error=practical_error,
    summands=summands,
    dialects=(
        Dialect("class", "each class has the denominator of its own number of positives, as in the review",
                {"denominator": "class"}, departs_from_paper=False),
        Dialect("max", "one denominator for all classes, the largest number of positives, as in the authors' code",
                {"denominator": "max"}),
    ),
    rulings=(
        Ruling("objects", "An object is the pair of image and ground-truth index, whatever the number of images."),
        Ruling("label weights", "w = a ((1 - beta) u + beta)^gamma: an ignored positive (a = 0) keeps weight 0, and "
               "has no rank and no part in the numbers of positives."),
        Ruling("ignored", "An ignored sample (label -1) has weight 0, whatever its label weight."),
        Ruling("ties", "Of equal IoU the lower index goes first."),
        Ruling("NaN", "NaN is lower than every number."),
        Ruling("empty", "The ratio is 1 where no loss is left; without positives the label weights stay."),
    ),
    not_applicable={
        Kind.GRADIENT: "the weights are constants", Kind.DETACHED: "the weights are constants",
        Kind.LIMIT: "IP-9 has the ends of gamma and beta",
        Kind.BOUND: "IP-1 and IP-10: ranks and ratio bound the weights", Kind.DISTRIBUTION: "not random",
    },
)  # fmt: skip
