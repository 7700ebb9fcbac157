"""Contract of instance-balanced positive sampling.

Pang et al., "Libra R-CNN", CVPR 2019 (arXiv 1904.02701), section 3.1, and the authors' code.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from typing import Any

import numpy as np

from steelyard.conformance import plain_mistakes as mistakes
from steelyard.conformance.checking import (
    any_axes_of_images,
    bad_option,
    bad_shape,
    batch_equals_per_image,
    padding,
    purity,
    refuses,
    same_as,
    value,
)
from steelyard.conformance.contract import (
    Argument,
    Array,
    Case,
    Kind,
    Level,
    Mutant,
    Option,
    Output,
    Requirement,
    Ruling,
    Technique,
)
from steelyard.conformance.generation import Draw
from steelyard.conformance.hard_sampling.draw_laws import certainties, counts, frequencies, systematic_keys
from steelyard.conformance.hard_sampling.real_proposals import keys_with_ties, real_candidates
from steelyard.conformance.precision import Float
from steelyard.conformance.soft_sampling.focal_inputs import option
from steelyard.reference.hard_sampling import instance_balanced_sampling as oracle
from steelyard.reference.hard_sampling.keyed_draws import smallest_keys

_FULL = ("float32", "float64")

# --- inputs: keys are multiples of 1/64, exact in every format ----------------------------------------------------


def _keys(draw: Draw, shape: tuple[int, ...]) -> Array:
    """No two of an image equal."""
    return np.argsort(draw.array(shape, draw.fraction), axis=-1, kind="stable") / 64.0


def distinct_keys(draw: Draw) -> Case:
    """One to three images of up to twelve candidates; positives of up to four objects, most of them of the first."""
    shape = (draw.integer(1, 3), draw.integer(1, 12))
    instances = draw.array(shape, lambda: float(draw.choice((0, 0, -1, 1, 0, 2, 5)))).astype(np.int64)
    arguments = {"instances": instances, "keys": _keys(draw, shape), "fill_keys": _keys(draw, shape)}
    return Case(arguments, {"num_positives": draw.choice((4, 3, 2, 6, 1, 0))}, draw.dtype())


def equal_keys(draw: Draw) -> Case:
    """The same with few different keys."""
    case = distinct_keys(draw)
    coarse = {name: np.floor(case.arguments[name] * 16.0) / 16.0 for name in ("keys", "fill_keys")}
    return case.with_arguments(**coarse)


def short_of_candidates(draw: Draw) -> Case:
    """No positive, one object, or no candidate at all."""
    shape = (draw.integer(1, 2), draw.choice((3, 1, 5, 0)))
    keys = np.broadcast_to(np.arange(shape[1]) / 64.0, shape).copy()
    arguments = {"instances": np.full(shape, draw.choice((-1, 4))), "keys": keys, "fill_keys": keys[:, ::-1].copy()}
    return Case(arguments, {"num_positives": draw.choice((2, 4, 0))}, draw.dtype())


def _of_sizes(sizes: Sequence[int], number: int, draw: Draw) -> Case:
    """One image with so many positives of each object; the keys do not matter."""
    instances = np.repeat(np.arange(len(sizes)), sizes)[None]
    keys = np.zeros(instances.shape)
    return Case({"instances": instances, "keys": keys, "fill_keys": keys}, {"num_positives": number}, draw.dtype())


def half_quotas(draw: Draw) -> Case:
    """Two objects, or four, that the number leaves one half of: the quota goes to the even side."""
    sizes, number = draw.choice((((9, 1), 5), ((9, 1), 7), ((9, 1, 1, 1), 6), ((9, 1, 1, 1), 10)))
    instances = np.concatenate([_of_sizes(sizes, number, draw).arguments["instances"], [[-1, -1, -1]]], axis=1)
    case, shape = _of_sizes(sizes, number, draw), instances.shape
    return case.with_arguments(instances=instances, keys=_keys(draw, shape), fill_keys=_keys(draw, shape))


def one_large_object(draw: Draw) -> Case:
    """An object of many positives and one or two of one: the quota of the large one leaves some to fill."""
    return _of_sizes([draw.integer(8, 12)] + [1] * draw.integer(1, 2), draw.choice((6, 8)), draw)


def some_dropped(draw: Draw) -> Case:
    """Two objects or three whose quotas add up to more than is wanted."""
    sizes, number = draw.choice((((4, 3, 2), 4), ((6, 5), 4), ((7, 2, 3), 5)))
    return _of_sizes(sizes, number, draw)


def real_image(seed: int) -> Case:
    """The proposals and objects of a photograph."""
    found = real_candidates(seed)
    shape = (1, found.instances.size)
    arguments = {
        "instances": found.instances[None], "keys": keys_with_ties(seed, shape),
        "fill_keys": keys_with_ties(seed + 1, shape),
    }  # fmt: skip
    return Case(arguments, {"num_positives": 16}, "float32", origin=f"scene {seed}")


def crowded(seed: int) -> Case:
    """Two images of 20,000 candidates: positives of 60 objects, from one to hundreds each."""
    random = np.random.default_rng(seed)
    shape = (2, 20_000)
    instances = np.floor(60.0 * random.random(shape) ** 3).astype(np.int64)
    instances[random.random(shape) < 0.5] = -1
    order = np.broadcast_to(np.arange(shape[1]), shape)
    keys, fill_keys = (random.permuted(order, axis=1) / 2.0**15 for _ in range(2))
    arguments = {"instances": instances, "keys": keys, "fill_keys": fill_keys}
    return Case(arguments, {"num_positives": 512}, "float32", origin=f"scene {seed}")


def _more_than_wanted(case: Case) -> bool:
    return bool(((case.arguments["instances"] >= 0).sum(axis=-1) > option(case, "num_positives")).any())


# --- laws -----------------------------------------------------------------------------------------------------


def _probabilities(case: Case) -> tuple[Float, Float]:
    """Of a case of one image."""
    return oracle.instance_balanced_probabilities(
        case.arguments["instances"][0], num_positives=int(option(case, "num_positives"))
    )


def reversed_candidates(case: Case) -> Case:
    """Candidates, with all that belongs to them, in reverse."""
    return case.with_arguments(**{name: values[..., ::-1].copy() for name, values in case.arguments.items()})


def renamed(case: Case) -> Case:
    """The objects numbered from the other end, with gaps."""
    instances = case.arguments["instances"]
    return case.with_arguments(instances=np.where(instances >= 0, 50 - 3 * instances, -1))


# --- mutants --------------------------------------------------------------------------------------------------

Function = Callable[..., Any]


def _drop(drawn: Array, fill_keys: Array, number: int) -> Array:
    return smallest_keys(fill_keys, drawn, number)


def _fill(left: Array, drawn: Array, keys: Array, fill_keys: Array, number: int) -> Array:
    return smallest_keys(fill_keys, left, number)


@dataclass(frozen=True)
class Steps:
    """The steps of the specification; a mutant replaces one."""

    positive: Callable[[Array], Array] = lambda instances: np.asarray(instances >= 0)
    objects: Callable[[Array], int] = lambda positives: len(np.unique(positives))
    quota: Callable[[int, int], int] = lambda number, objects: round(number / max(objects, 1)) + 1
    all_below: bool = True
    order: Callable[[Array], Array] = lambda keys: keys
    fill: Callable[[Array, Array, Array, Array, int], Array] = _fill
    drop: Callable[[Array, Array, int], Array] = _drop


def _sampler(**wrong: Any) -> Function:  # noqa: ANN401
    """A sampler of batches with some steps replaced, and the specification's checks."""
    steps = replace(Steps(), **wrong)

    def function(instances: Array, keys: Array, fill_keys: Array, *, num_positives: int) -> Array:
        oracle.instance_balanced_positives(instances, keys, fill_keys, num_positives=num_positives)
        chosen = np.zeros(np.shape(instances), bool)
        for image in np.ndindex(np.shape(instances)[:-1]):
            key, fill_key = (np.asarray(array, dtype=np.float64)[image] for array in (keys, fill_keys))
            chosen[image] = _one(steps, np.asarray(instances)[image], key, fill_key, num_positives)
        return chosen

    return function


def _one(steps: Steps, instances: Array, keys: Array, fill_keys: Array, number: int) -> Array:
    positive = steps.positive(instances)
    if steps.all_below and positive.sum() <= number:
        return positive
    quota = steps.quota(number, steps.objects(instances[positive]))
    drawn = np.zeros(positive.shape, bool)
    for instance in np.unique(instances[positive]):
        drawn |= smallest_keys(steps.order(keys), positive & (instances == instance), quota)
    if drawn.sum() > number:
        return steps.drop(drawn, fill_keys, number)
    missing = number - int(drawn.sum())
    return np.asarray(drawn | steps.fill(positive & ~drawn, drawn, keys, fill_keys, missing))


def _with_repeats(left: Array, drawn: Array, keys: Array, fill_keys: Array, number: int) -> Array:
    """From all positives: those drawn already count twice, and once in a set."""
    return smallest_keys(fill_keys, left | drawn, number)


def _own_keys(change: Callable[[Array, Array, Array], tuple[Array, Array]] | None = None, **wrong: Any) -> Function:  # noqa: ANN401
    """A sampler that draws its own keys; only its distribution can be judged."""
    function = _sampler(**wrong)
    random = np.random.default_rng(20_190_404)

    def draw(instances: Array, **options: Any) -> Any:  # noqa: ANN401
        keys, fill_keys = random.random((2, *np.shape(instances)))
        if change is not None:
            keys, fill_keys = change(keys, fill_keys, np.asarray(instances))
        return function(instances, keys, fill_keys, **options)

    return draw


def _systematic(keys: Array, fill_keys: Array, instances: Array) -> tuple[Array, Array]:
    return systematic_keys(keys, instances), fill_keys


def _whole_batch(instances: Array, keys: Array, fill_keys: Array, **o: Any) -> Array:  # noqa: ANN401
    chosen = oracle.instance_balanced_positives(np.ravel(instances), np.ravel(keys), np.ravel(fill_keys), **o)
    return chosen.reshape(np.shape(instances))


def _last_of_equal_keys(instances: Array, keys: Array, fill_keys: Array, **o: Any) -> Array:  # noqa: ANN401
    reverse = (array[..., ::-1] for array in (instances, keys, fill_keys))
    return oracle.instance_balanced_positives(*reverse, **o)[..., ::-1]


_RIGHT = oracle.instance_balanced_positives
MUTANTS = (
    Mutant("instance-balanced/repeats", "the rest filled from all positives, some of which are drawn already",
           _sampler(fill=_with_repeats), seen_in="mmdet 3.3.0, which subtracts a set of tensors: nothing"),
    Mutant("instance-balanced/no-fill", "no more than the quota of any object",
           _sampler(fill=lambda left, *_: np.zeros(left.shape, bool))),
    Mutant("instance-balanced/no-drop", "more positives than asked for, where the quotas add up to more",
           _sampler(drop=lambda drawn, *_: drawn)),
    Mutant("instance-balanced/last-dropped", "the last candidates dropped instead of random ones",
           _sampler(drop=lambda drawn, _, number: smallest_keys(np.arange(drawn.size) / 64.0, drawn, number))),
    Mutant("instance-balanced/no-plus-one", "the quota of an object without the one more",
           _sampler(quota=lambda number, objects: round(number / max(objects, 1)))),
    Mutant("instance-balanced/half-up", "the quota of an object rounded half up",
           _sampler(quota=lambda number, objects: int(number / max(objects, 1) + 0.5) + 1)),
    Mutant("instance-balanced/cut-quota", "the quota of an object cut instead of rounded",
           _sampler(quota=lambda number, objects: number // max(objects, 1) + 1)),
    Mutant("instance-balanced/objects-by-number", "objects without positives counted",
           _sampler(objects=lambda positives: int(positives.max(initial=-1)) + 1)),
    Mutant("instance-balanced/first-object-only-positive", "the object of number 0 taken for background",
           _sampler(positive=lambda instances: np.asarray(instances > 0))),
    Mutant("instance-balanced/stale-keys", "the rest filled by the keys of the objects",
           _sampler(fill=lambda left, _, keys, __, number: smallest_keys(keys, left, number))),
    Mutant("instance-balanced/largest-keys", "the largest keys of an object", _sampler(order=lambda keys: -keys)),
    Mutant("instance-balanced/last-of-equal-keys", "of equal keys the last candidate's", _last_of_equal_keys),
    Mutant("instance-balanced/first-candidates-only", "candidates beyond the 16,384th never drawn",
           _sampler(positive=lambda instances: (instances >= 0) & (np.arange(instances.size) < 16_384))),
    Mutant("instance-balanced/whole-batch", "one number for the whole batch", _whole_batch),
    Mutant("instance-balanced/own-repeats", "the rest filled from all positives, by its own random numbers",
           _own_keys(fill=_with_repeats), draws_own_keys=True),
    Mutant("instance-balanced/own-stale-keys", "what is dropped chosen by the keys of the objects",
           _own_keys(lambda keys, *_: (keys, keys)), draws_own_keys=True),
    Mutant("instance-balanced/systematic", "neighbours drawn together", _own_keys(_systematic), draws_own_keys=True),
    Mutant("instance-balanced/in-place", "its inputs overwritten", mistakes.overwriting(_RIGHT, "instances")),
    Mutant("instance-balanced/unchecked", "no check of its option",
           mistakes.unchecked(_RIGHT, num_positives=lambda v: max(v, 0))),
    Mutant("instance-balanced/broadcast", "instances repeated for keys of another number of images",
           mistakes.broadcasting(_RIGHT, "instances", "keys")),
    Mutant("instance-balanced/raises-on-empty", "an error where there is no candidate",
           mistakes.failing_on_empty(_RIGHT, "keys")),
    Mutant("instance-balanced/one-axis-of-images", "images along two axes taken for those of the first",
           mistakes.images_along_one_axis(_RIGHT, "instances")),
)  # fmt: skip


# --- contract -------------------------------------------------------------------------------------------------

_IMPLIED = "implied by IBP-1; kept because a failure then names the law that is broken"
_WITHOUT_KEYS = "implied by IBP-1 for candidates with keys; exact for those without"

INSTANCE_BALANCED_POSITIVES = Technique(
    id="instance_balanced_positives",
    title="Instance-balanced positive sampling",
    family="hard_sampling",
    summary="Positives of each image, in equal numbers from each object.",
    sources=(
        'Pang et al., "Libra R-CNN: Towards Balanced Learning for Object Detection", CVPR 2019, arXiv 1904.02701, 3.1',
    ),
    oracle=oracle.instance_balanced_positives,
    arguments=(
        Argument("instances", ("...", "N"), "int", "object of a positive; -1 for all that is no positive"),
        Argument("keys", ("...", "N"), "float", "uniform random numbers in [0, 1), for each object", is_key=True),
        Argument("fill_keys", ("...", "N"), "float", "others, for what is added or dropped", is_key=True),
    ),
    options=(Option("num_positives", 128, "how many are drawn, if there are more"),),
    outputs=(Output("positive", ("...", "N"), "bool", "positives of the sample"),),
    requirements=(
        Requirement("IBP-1", Level.MUST, Kind.VALUE,
                    "Each object gives its positives with the smallest keys, up to its quota; some join or leave.",
                    "authors' code; explicit keys are ours", value, distinct_keys, scenes=(crowded, real_image),
                    dtypes=_FULL, needs_keys=True, reaches={"more positives than wanted": _more_than_wanted}),
        Requirement("IBP-2", Level.MUST, Kind.BOUND, "As many positives as asked for, or all, none twice.",
                    "ruling distinct", counts(_probabilities), one_large_object, dtypes=_FULL, examples=0.2,
                    no_mutant=_WITHOUT_KEYS),
        Requirement("IBP-3", Level.MUST, Kind.BOUND, "No more than that, where the quotas add up to more.",
                    "ruling distinct", counts(_probabilities), some_dropped, dtypes=_FULL, examples=0.1,
                    no_mutant=_WITHOUT_KEYS),
        Requirement("IBP-4", Level.MUST, Kind.CONSERVATION,
                    "While none is dropped, an object within its quota keeps all it has.", "section 3.1",
                    certainties(_probabilities, "of an object within its quota"), one_large_object, dtypes=_FULL,
                    examples=0.1, no_mutant=_WITHOUT_KEYS),
        Requirement("IBP-5", Level.MUST, Kind.TIES, "The quota rounds half to even, and one more.", "authors' code",
                    value, half_quotas, dtypes=_FULL, needs_keys=True, examples=0.5),
        Requirement("IBP-6", Level.MUST, Kind.TIES, "Of equal keys the first candidate's counts.", "ruling ties", value,
                    equal_keys, dtypes=_FULL, needs_keys=True, examples=0.5),
        Requirement("IBP-7", Level.MUST, Kind.EMPTY, "Without positives or candidates there is nothing to draw.",
                    "ruling shortage", value, short_of_candidates, dtypes=_FULL, needs_keys=True, examples=0.5),
        Requirement("IBP-8", Level.MUST, Kind.DISTRIBUTION, "Each positive is drawn as often as it must be.",
                    "section 3.1", frequencies(_probabilities), some_dropped, dtypes=_FULL, examples=0.03,
                    no_mutant="a sampler that favours a candidate favours its pairs, which IBP-9 sees too"),
        Requirement("IBP-9", Level.MUST, Kind.DISTRIBUTION, "Each pair is drawn together as often as it must be.",
                    "section 3.1", frequencies(_probabilities, of_pairs=True), some_dropped, dtypes=_FULL,
                    examples=0.03,
                    no_mutant="IBP-10 sees pairs too, where none is dropped"),
        Requirement("IBP-10", Level.MUST, Kind.DISTRIBUTION,
                    "What the quotas leave to fill is drawn from all others alike.", "authors' code",
                    frequencies(_probabilities, of_pairs=True), one_large_object, dtypes=_FULL, examples=0.03,
                    no_mutant="what is filled wrongly breaks IBP-2 too"),
        Requirement("IBP-11", Level.MUST, Kind.BATCH, "The number holds for each image.", "ruling per-image",
                    batch_equals_per_image, distinct_keys, dtypes=_FULL, needs_keys=True, examples=0.3,
                    no_mutant=_IMPLIED),
        Requirement("IBP-12", Level.MUST, Kind.BATCH, "Ignored candidates at the end of an image change nothing.",
                    "padding", padding(1, instances=-1, keys=0.0, fill_keys=0.0), distinct_keys, dtypes=_FULL,
                    needs_keys=True, examples=0.3, no_mutant=_IMPLIED),
        Requirement("IBP-13", Level.MUST, Kind.INVARIANCE, "Reordering the candidates reorders what is drawn.",
                    "explicit keys", same_as(reversed_candidates, "draw from the reordered image",
                                             lambda output, _: output[..., ::-1]),
                    distinct_keys, dtypes=_FULL, needs_keys=True, examples=0.3, no_mutant=_IMPLIED),
        Requirement("IBP-14", Level.MUST, Kind.INVARIANCE, "What the objects are called does not matter.",
                    "section 3.1", same_as(renamed, "draw with other numbers of the objects"), distinct_keys,
                    dtypes=_FULL, needs_keys=True, examples=0.3, no_mutant=_IMPLIED),
        Requirement("IBP-15", Level.MUST, Kind.PURITY,
                    "The inputs are not written to, and equal keys give equal draws.",
                    "house rule", purity, distinct_keys, dtypes=_FULL, needs_keys=True, examples=0.3),
        Requirement("IBP-16", Level.SHOULD, Kind.ERROR, "Instances of another shape than the keys' are refused.",
                    "house rule", refuses(bad_shape("instances")), distinct_keys, dtypes=_FULL, needs_keys=True,
                    examples=0.2),
        Requirement("IBP-17", Level.MAY, Kind.ERROR, "A number below 0 is refused.", "house rule",
                    refuses(bad_option("num_positives", -1)), distinct_keys, dtypes=_FULL, examples=0.2),
        Requirement("IBP-18", Level.SHOULD, Kind.BATCH, "Images lie along any number of axes, or along none.",
                    "shape (..., N)", any_axes_of_images, distinct_keys, dtypes=_FULL, needs_keys=True, examples=0.2),
    ),
    mutants=MUTANTS,
    rulings=(
        Ruling("distinct", "As many different positives as asked for, if there are so many."),
        Ruling("shortage", "No more positives than wanted: all of them."),
        Ruling("per-image", "Number and quota are those of one image."),
        Ruling("ties", "Of equal keys the first candidate's counts; with 64-bit random keys there are none."),
    ),
    not_applicable={
        Kind.GRADIENT: "a choice has no gradient", Kind.DETACHED: "a choice has no gradient",
        Kind.REDUCES_TO: "with one object, a uniform draw by two keys in turn: IBP-8 judges it", Kind.LIMIT: "no limit",
        Kind.EXTREME: "keys are plain numbers in [0, 1)",
    },
)  # fmt: skip
