"""Contracts of one round of bootstrapping: the hardest false positives, or a random subset of them.

Sung & Poggio, "Example-based Learning for View-based Human Face Detection", AI Memo 1521 (1994); Rowley, Baluja &
Kanade, "Human Face Detection in Visual Scenes", NIPS 1995. The rounds themselves are a loop around a training, which no
contract of arrays can describe: tests of the reference hold it to its certificate.
"""

from __future__ import annotations

import zlib
from collections.abc import Callable
from dataclasses import replace

import numpy as np

from steelyard.conformance.checking import (
    Bench,
    any_axes_of_images,
    bad_option,
    bad_shape,
    batch_equals_per_image,
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
    Check,
    Kind,
    Level,
    Option,
    Output,
    Requirement,
    Ruling,
    Technique,
)
from steelyard.conformance.generation import Draw
from steelyard.conformance.hard_sampling.bootstrapping_mutants import HARDEST_MUTANTS, RANDOM_MUTANTS
from steelyard.conformance.hard_sampling.mining_inputs import FULL, distinct_ranks, draw_shape
from steelyard.conformance.real_data import points_of_image
from steelyard.conformance.statistics import (
    Suspicion,
    inclusion,
    inclusion_without_replacement,
    pairs,
    uniform_keys,
)
from steelyard.reference.hard_sampling import bootstrapping as oracle

_REPETITIONS = 4000

# --- inputs ---------------------------------------------------------------------------------------------------


def _held(draw: Draw, shape: tuple[int, ...]) -> Array:
    return draw.array(shape, lambda: float(draw.flag(25))).astype(bool)


def scores(draw: Draw) -> Case:
    """One to three pools of up to twelve candidates, no two scores of a pool equal, some negatives already."""
    shape = draw_shape(draw)
    values = distinct_ranks(draw, shape) / 4.0 - draw.choice((0.625, 1.625, 0.125))
    options = {"add_threshold": draw.choice((0.0, 0.5, -1.0)), "max_new": draw.choice((2, None, 1, 4))}
    return Case({"scores": values, "held": _held(draw, shape)}, options, draw.dtype())


def equal_scores(draw: Draw) -> Case:
    """Few different scores, of which one is the threshold."""
    case = scores(draw)
    return case.with_arguments(scores=np.floor(case.arguments["scores"])).with_options(
        add_threshold=draw.choice((0.0, 1.0))
    )


def nothing_to_add(draw: Draw) -> Case:
    """All are negatives already, none scores above the threshold, or there is none."""
    case = scores(draw).with_options(max_new=draw.choice((2, None)))
    if draw.flag():
        return case.with_arguments(held=np.ones_like(case.arguments["held"]))
    if draw.flag():
        return case.with_arguments(scores=case.arguments["scores"] - 8.0)
    return case.with_arguments(**{name: values[:, :0] for name, values in case.arguments.items()})


def infinite_scores(draw: Draw) -> Case:
    """One infinite score in each pool, and others of minus infinity."""
    case = scores(draw)
    values = case.arguments["scores"].copy()
    values[..., draw.integer(0, values.shape[1] - 1)] = np.inf
    values[values < 0.0] = -np.inf
    return case.with_arguments(scores=values)


def scanned_points(seed: int) -> Case:
    """The scores of a detector's background points on a photograph; 250 new negatives at most, as in Rowley et al."""
    image = points_of_image(seed)
    arguments = {"scores": image.scores[None], "held": (image.labels != 80)[None]}
    return Case(arguments, {"add_threshold": -3.0, "max_new": 250}, "float32", origin=f"image {image.image_id}")


def _with_keys(case: Case, keys: Array) -> Case:
    return replace(case, arguments={**case.arguments, "keys": keys})


def keyed(draw: Draw) -> Case:
    """The same with distinct keys."""
    case = scores(draw)
    return _with_keys(case, distinct_ranks(draw, case.arguments["held"].shape) / 64.0)


def equal_keys(draw: Draw) -> Case:
    """The same with few different keys."""
    case = keyed(draw)
    return case.with_arguments(keys=np.floor(case.arguments["keys"] * 16.0) / 16.0)


def keyed_at_the_threshold(draw: Draw) -> Case:
    """Few different scores, of which one is the threshold, and distinct keys."""
    case = equal_scores(draw)
    return _with_keys(case, distinct_ranks(draw, case.arguments["held"].shape) / 64.0)


def keyed_nothing(draw: Draw) -> Case:
    """Nothing to draw from."""
    case = nothing_to_add(draw)
    shape = case.arguments["held"].shape
    return _with_keys(case, np.broadcast_to(np.arange(shape[1]) / 64.0, shape).copy())


def one_pool(draw: Draw) -> Case:
    """One pool with something left to choose, for the tests of distribution."""
    found, others = draw.choice(((6, 3), (9, 0), (5, 5)))
    values = np.array([1.0 + draw.integer(0, 3) for _ in range(found)] + [-1.0] * others)
    held = np.zeros(values.size, bool)
    held[found : found + 1] = others > 0
    arguments = {"scores": values[None], "held": held[None], "keys": np.zeros((1, values.size))}
    return Case(arguments, {"add_threshold": 0.0, "max_new": draw.choice((2, 3))}, draw.dtype(FULL))


def many_windows(seed: int) -> Case:
    """20,000 windows of which one in ten is a false positive."""
    random = np.random.default_rng(seed)
    shape = (2, 20_000)
    values = (random.permuted(np.broadcast_to(np.arange(shape[1]), shape), axis=1) - 18_000.0) / 2.0**10
    options = {"add_threshold": 0.0, "max_new": 250}
    return Case({"scores": values, "held": random.random(shape) < 0.05}, options, "float32", origin=f"scene {seed}")


def tied_windows(seed: int) -> Case:
    """The same of 10,000 windows, with scores of few values: a sort of so many equals that is not stable shows."""
    case = many_windows(seed)
    scores, held = (case.arguments[name][:, :10_000] for name in ("scores", "held"))
    return case.with_arguments(scores=np.floor(4.0 * scores) / 4.0, held=held)


def many_windows_with_keys(seed: int) -> Case:
    """The same with keys."""
    case, random = many_windows(seed), np.random.default_rng(seed + 1)
    shape = case.arguments["held"].shape
    return _with_keys(case, random.permuted(np.broadcast_to(np.arange(shape[1]), shape), axis=1) / 2.0**15)


# --- laws -----------------------------------------------------------------------------------------------------


def bounds_of_a_round(bench: Bench, case: Case) -> None:
    """Only false positives, none twice, as many as may be."""
    added = bench.evaluate(case).outputs[0].astype(bool)
    bench.expect(not (added & case.arguments["held"]).any(), "a negative is added again", case)
    low = case.arguments["scores"] <= case.options["add_threshold"]
    bench.expect(not (added & low).any(), "a candidate at or below the threshold is added", case)
    numbers, expected = added.sum(axis=-1).tolist(), bench.oracle(case)[0].sum(axis=-1).tolist()
    bench.expect(numbers == expected, f"{numbers} candidates are added, expected {expected}", case)


def converged(bench: Bench, case: Case) -> None:
    """Rounds with the same scores come to an end, with no false positive outside the negatives: the certificate."""
    held = case.arguments["held"].copy()
    for _ in range(held.shape[-1] + 1):
        added = bench.evaluate(case.with_arguments(held=held)).outputs[0].astype(bool)
        if not added.any():
            break
        held |= added
    left = (case.arguments["scores"] > case.options["add_threshold"]) & ~held
    bench.expect(not left.any(), "rounds end although there are false positives", case)


def every_false_positive(case: Case) -> Array:
    """Above the threshold, and no negative yet."""
    above = case.arguments["scores"] > case.options["add_threshold"]
    return np.asarray(above & ~case.arguments["held"])


def reversed_pool(case: Case) -> Case:
    """Candidates in reverse, with all that belongs to them."""
    return case.with_arguments(**{name: values[..., ::-1].copy() for name, values in case.arguments.items()})


def _distribution(judge: Callable[[Array, Array, Array], Suspicion]) -> Check:
    def check(bench: Bench, case: Case) -> None:
        group = every_false_positive(case)[0]
        members = np.flatnonzero(group)
        number = min(int(case.options["max_new"]), members.size)  # type: ignore[arg-type]
        single, together = np.zeros(group.size), np.zeros((group.size, group.size))
        single[members], together[np.ix_(members, members)] = inclusion_without_replacement(number, members.size)

        def test(seed: int) -> Suspicion:
            shape = (_REPETITIONS, group.size)
            many = {name: np.broadcast_to(case.arguments[name], shape).copy() for name in ("scores", "held")}
            keys = uniform_keys(shape, seed, np.float32).astype(np.float64)
            chosen = bench.attempt(case.with_arguments(**many, keys=keys)).outputs[0].astype(bool)
            return judge(chosen, single, together)

        bench.expect_distribution(case, test, zlib.crc32(case.arguments["scores"].tobytes()))

    return check


# --- contracts ------------------------------------------------------------------------------------------------

_SCORES = Argument("scores", ("...", "M"), "float", "of the current classifier, larger for what looks like an object")
_HELD = Argument("held", ("...", "M"), "bool", "candidates that are negatives already")
_THRESHOLD = Option("add_threshold", 0.0, "a candidate is a false positive if it scores above this")
_REFUSED = refuses(bad_option("max_new", 0))
_OUTPUT = (Output("added", ("...", "M"), "bool", "candidates that become negatives"),)
_RULINGS = (
    Ruling("strict", "A false positive scores strictly above the threshold."),
    Ruling("once", "A candidate that is a negative is never added again."),
    Ruling("ties", "Of equal scores, or keys, the first candidate's."),
)
_IMPLIED = "implied by the values; kept because a failure then names the law that is broken"

MINE_FALSE_POSITIVES = Technique(
    id="mine_false_positives",
    title="Bootstrapping: the hardest false positives of a round",
    family="hard_sampling",
    summary="The candidates of a pool that a classifier takes for objects and that are no negatives yet.",
    sources=('Sung & Poggio, "Example-based Learning for View-based Human Face Detection", AI Memo 1521, 1994',
             'Girshick et al., "Rich feature hierarchies" (R-CNN), CVPR 2014, arXiv 1311.2524, section 2.3'),
    oracle=oracle.mine_false_positives,
    arguments=(_SCORES, _HELD),
    options=(_THRESHOLD, Option("max_new", None, "most candidates to add, the hardest; None: all")),
    outputs=_OUTPUT,
    requirements=(
        Requirement("FP-1", Level.MUST, Kind.VALUE, "The false positives of the largest score are added.",
                    "Sung & Poggio, section 2.4", value, scores, scenes=(many_windows,), dtypes=FULL,
                    reaches={"more than may be added": lambda c: c.options["max_new"] is not None
                             and bool((every_false_positive(c).sum(axis=-1) > c.options["max_new"]).any())}),
        Requirement("FP-2", Level.MUST, Kind.BOUND, "Only false positives are added, none again, and not too many.",
                    "ruling once", bounds_of_a_round, scores, dtypes=FULL, examples=0.5, no_mutant=_IMPLIED),
        Requirement("FP-3", Level.MUST, Kind.REDUCES_TO, "Without a cap all false positives are added.",
                    "Sung & Poggio, section 2.4", reduces_to(every_false_positive, max_new=None), scores, dtypes=FULL,
                    examples=0.3, no_mutant=_IMPLIED),
        Requirement("FP-4", Level.MUST, Kind.LIMIT,
                    "Rounds come to an end, and then no false positive is left: the certificate of convergence.",
                    "Sung & Poggio, section 2.4", converged, scores, dtypes=FULL, examples=0.3, no_mutant=_IMPLIED),
        Requirement("FP-5", Level.MUST, Kind.TIES, "A score at the threshold is no false positive; the first of equals "
                    "is added.", "rulings strict, ties", value, equal_scores, scenes=(scanned_points, tied_windows),
                    dtypes=FULL),
        Requirement("FP-6", Level.MUST, Kind.EMPTY, "Where there is no false positive nothing is added.",
                    "ruling strict", value, nothing_to_add, dtypes=FULL, examples=0.5),
        Requirement("FP-7", Level.SHOULD, Kind.EXTREME, "Infinite scores rank first, or are never added.",
                    "house rule", value, infinite_scores, dtypes=FULL, examples=0.5),
        Requirement("FP-8", Level.MUST, Kind.BATCH, "The cap holds for each pool.", "batch", batch_equals_per_image,
                    scores, dtypes=FULL, examples=0.3, no_mutant=_IMPLIED),
        Requirement("FP-9", Level.MUST, Kind.BATCH, "Negatives at the end of a pool change nothing.", "padding",
                    padding(1, held=1, scores=99.0), scores, dtypes=FULL, examples=0.3, no_mutant=_IMPLIED),
        Requirement("FP-10", Level.MUST, Kind.INVARIANCE, "Reordering the pool reorders what is added.", "no order",
                    same_as(reversed_pool, "what is added of the reordered pool", lambda o, _: o[..., ::-1]), scores,
                    dtypes=FULL, examples=0.3, no_mutant=_IMPLIED),
        Requirement("FP-11", Level.MUST, Kind.PURITY, "The inputs are not written to, and equal calls agree.",
                    "house rule", purity, scores, dtypes=FULL, examples=0.3),
        Requirement("FP-12", Level.SHOULD, Kind.ERROR, "Negatives of another number of pools are refused.",
                    "house rule", refuses(bad_shape("held")), scores, dtypes=FULL, examples=0.2),
        Requirement("FP-13", Level.MAY, Kind.ERROR, "A cap of 0 is refused.", "house rule", _REFUSED, scores,
                    dtypes=FULL, examples=0.2),
        Requirement("FP-14", Level.SHOULD, Kind.BATCH, "Images lie along any number of axes, or along none.",
                    "shape (..., N)", any_axes_of_images, scores, dtypes=FULL, examples=0.2),
    ),
    mutants=HARDEST_MUTANTS,
    rulings=_RULINGS,
    not_applicable={
        Kind.GRADIENT: "a choice has no gradient", Kind.DETACHED: "a choice has no gradient",
        Kind.CONSERVATION: "FP-2 counts what is added", Kind.DISTRIBUTION: "not random",
    },
)  # fmt: skip

MINE_RANDOM_FALSE_POSITIVES = Technique(
    id="mine_random_false_positives",
    title="Bootstrapping: random false positives of a round",
    family="hard_sampling",
    summary="A random subset of the candidates that a classifier takes for objects and that are no negatives yet.",
    sources=('Rowley, Baluja & Kanade, "Human Face Detection in Visual Scenes", NIPS 1995, section 2.2',),
    oracle=oracle.mine_random_false_positives,
    arguments=(_SCORES, _HELD,
               Argument("keys", ("...", "M"), "float", "independent uniform random numbers in [0, 1)", is_key=True)),
    options=(_THRESHOLD, Option("max_new", 250, "most candidates to add; None: all")),
    outputs=_OUTPUT,
    requirements=(
        Requirement("RFP-1", Level.MUST, Kind.VALUE, "The false positives with the smallest keys are added.",
                    "section 2.2; explicit keys are ours", value, keyed, scenes=(many_windows_with_keys,), dtypes=FULL,
                    needs_keys=True),
        Requirement("RFP-2", Level.MUST, Kind.BOUND, "Only false positives are added, none again, and not too many.",
                    "ruling once", bounds_of_a_round, keyed, dtypes=FULL, examples=0.5,
                    no_mutant="implied by RFP-1 for candidates with keys; exact also for those without"),
        Requirement("RFP-3", Level.MUST, Kind.REDUCES_TO, "Without a cap all false positives are added.",
                    "section 2.2", reduces_to(every_false_positive, max_new=None), keyed, dtypes=FULL, examples=0.3,
                    no_mutant="implied by RFP-2; kept because a failure then names the law that is broken"),
        Requirement("RFP-4", Level.MUST, Kind.LIMIT,
                    "Rounds come to an end, and then no false positive is left: the certificate of convergence.",
                    "section 2.2", converged, keyed, dtypes=FULL, examples=0.3, no_mutant=_IMPLIED),
        Requirement("RFP-5", Level.MUST, Kind.DISTRIBUTION, "Every false positive is added as often as it must be.",
                    "section 2.2", _distribution(inclusion), one_pool, dtypes=FULL, examples=0.03,
                    no_mutant="a draw that favours a candidate favours its pairs, which RFP-6 sees too"),
        Requirement("RFP-6", Level.MUST, Kind.DISTRIBUTION, "Every pair is added together as often as it must be.",
                    "section 2.2", _distribution(lambda chosen, _, together: pairs(chosen, together)), one_pool,
                    dtypes=FULL, examples=0.03),
        Requirement("RFP-7", Level.MUST, Kind.TIES, "Of equal keys the first candidate's counts.", "ruling ties",
                    value, equal_keys, dtypes=FULL, needs_keys=True, examples=0.5),
        Requirement("RFP-8", Level.MUST, Kind.EMPTY, "Where there is no false positive nothing is added.",
                    "ruling strict", value, keyed_nothing, dtypes=FULL, examples=0.5),
        Requirement("RFP-9", Level.MUST, Kind.BATCH, "The cap holds for each pool.", "batch", batch_equals_per_image,
                    keyed, dtypes=FULL, examples=0.3, needs_keys=True, no_mutant=_IMPLIED),
        Requirement("RFP-10", Level.MUST, Kind.BATCH, "Negatives at the end of a pool change nothing.", "padding",
                    padding(1, held=1, scores=99.0, keys=0.0), keyed, dtypes=FULL, examples=0.3, needs_keys=True,
                    no_mutant=_IMPLIED),
        Requirement("RFP-11", Level.MUST, Kind.INVARIANCE, "Reordering the pool with its keys reorders what is added.",
                    "no order", same_as(reversed_pool, "what is added of the reordered pool",
                                        lambda o, _: o[..., ::-1]), keyed, dtypes=FULL, examples=0.3, needs_keys=True,
                    no_mutant=_IMPLIED),
        Requirement("RFP-12", Level.MUST, Kind.PURITY, "The inputs are not written to, and equal keys agree.",
                    "house rule", purity, keyed, dtypes=FULL, examples=0.3, needs_keys=True),
        Requirement("RFP-13", Level.SHOULD, Kind.ERROR, "Negatives of another number of pools are refused.",
                    "house rule", refuses(bad_shape("held")), keyed, dtypes=FULL, examples=0.2, needs_keys=True),
        Requirement("RFP-14", Level.MAY, Kind.ERROR, "A cap of 0 is refused.", "house rule", _REFUSED, keyed,
                    dtypes=FULL, examples=0.2),
        Requirement("RFP-15", Level.SHOULD, Kind.BATCH, "Images lie along any number of axes, or along none.",
                    "shape (..., N)", any_axes_of_images, keyed, dtypes=FULL, needs_keys=True, examples=0.2),
        Requirement("RFP-16", Level.MUST, Kind.TIES, "A score at the threshold is no false positive.", "ruling strict",
                    value, keyed_at_the_threshold, dtypes=FULL, needs_keys=True, examples=0.5),
    ),
    mutants=RANDOM_MUTANTS,
    rulings=_RULINGS,
    not_applicable={
        Kind.GRADIENT: "a choice has no gradient", Kind.DETACHED: "a choice has no gradient",
        Kind.CONSERVATION: "RFP-2 counts what is added",
        Kind.EXTREME: "infinite scores are those of mine_false_positives",
    },
)  # fmt: skip
