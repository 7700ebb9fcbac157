"""What holds for every random draw of candidates, whoever brings the random numbers: counts, certainties, frequencies.

A sampler's exact probabilities, for one image, are its specification here. What a candidate draws is the union of its
outputs, each a mask of the candidates.
"""

from __future__ import annotations

import zlib
from collections.abc import Callable
from functools import partial

import numpy as np

from steelyard.conformance.candidates import Answer
from steelyard.conformance.checking import Bench, DistributionDeviation
from steelyard.conformance.contract import Array, Case, Check
from steelyard.conformance.precision import Float
from steelyard.conformance.statistics import Frequencies, Suspicion, categories, inclusion, pairs, uniform_keys
from steelyard.reference.hard_sampling.keyed_draws import probabilities_by_groups

Probabilities = Callable[[Case], tuple[Float, Float]]
"""Of each candidate, and of each pair, of a case of one image."""

REPETITIONS = 2000
_AGAIN = 16
_TO_EXPLAIN = 400  # draws of a failing case: a candidate drawn in half of them and one drawn in three quarters differ
_CERTAIN = 1e-12


def one_image(case: Case, number: int) -> Case:
    """A case of one of its images."""
    return case.with_arguments(**{name: values[number : number + 1] for name, values in case.arguments.items()})


def repeated(bench: Bench, case: Case, times: int, seed: int) -> Case:
    """Its images, one after another, so many times, with fresh keys in float32's numbers."""
    keys = [argument.name for argument in bench.technique.arguments if argument.is_key]
    arguments = {name: np.concatenate([values] * times) for name, values in case.arguments.items()}
    shape = arguments[keys[0]].shape
    fresh = uniform_keys((len(keys), *shape), seed, np.float32).astype(np.float64)
    return case.with_arguments(**{**arguments, **dict(zip(keys, fresh, strict=True))})


def settled(bench: Bench, case: Case) -> Case:
    """The case with the options of the candidate's dialect."""
    return case if bench.dialect is None else case.with_options(**bench.dialect.options)


def drawn(answer: Answer) -> Array:
    """All that was drawn, as one mask."""
    return np.logical_or.reduce([output.astype(bool) for output in answer.outputs])


def independent_pools(*pools: tuple[Array, int]) -> tuple[Float, Float]:
    """Probabilities where so many of each of some disjoint pools are drawn uniformly, each for itself."""
    draws = [probabilities_by_groups(np.where(pool, 0, -1), quota=number, total=number) for pool, number in pools]
    single = np.sum([single for single, _ in draws], axis=0)
    together = np.outer(single, single)
    for (pool, _), (_, pair) in zip(pools, draws, strict=True):
        together[np.ix_(pool, pool)] = pair[np.ix_(pool, pool)]
    return single, together


def counts(probabilities: Probabilities) -> Check:
    """As many candidates as must be, none that cannot be; a few times with fresh keys."""

    def check(bench: Bench, case: Case) -> None:
        images = len(next(iter(case.arguments.values())))
        many = repeated(bench, case, _AGAIN, _seed(case))
        found = drawn(bench.evaluate(many)).reshape(_AGAIN, images, -1)
        for number in range(images):
            single, _ = probabilities(one_image(settled(bench, case), number))
            impossible = found[:, number, single <= _CERTAIN].any()
            bench.expect(not impossible, f"image {number}: drew a candidate that takes no part", case)
            sizes, wanted = np.unique(found[:, number].sum(axis=-1)).tolist(), round(float(single.sum()))
            bench.expect(sizes == [wanted], f"drew {_or(sizes)} candidates of image {number}, expected {wanted}", case)

    return check


def certainties(probabilities: Probabilities, what: str) -> Check:
    """Candidates of probability 1 are drawn, whatever the keys; a few times with fresh ones.

    Where one is missed, the frequencies of all pairs tell apart what may be the cause.
    """

    def check(bench: Bench, case: Case) -> None:
        images = len(next(iter(case.arguments.values())))
        many = repeated(bench, case, _AGAIN, _seed(case))
        found = drawn(bench.evaluate(many)).reshape(_AGAIN, images, -1)
        for number in range(images):
            single, _ = probabilities(one_image(settled(bench, case), number))
            share = found[:, number].mean(axis=0)
            missed = np.flatnonzero((single >= 1.0 - _CERTAIN) & (share < 1.0))
            bench.checks += 1
            if missed.size:
                raise DistributionDeviation(
                    f"image {number}: candidate {missed[0]} ({what}) was drawn in {share[missed[0]]:.0%} of {_AGAIN} "
                    "draws, expected in all",
                    case,
                    partial(_frequencies_of_pairs, bench, case),
                )

    return check


def _frequencies_of_pairs(bench: Bench, case: Case) -> Frequencies:
    """How often each pair of candidates was drawn together, in every image."""
    images = len(next(iter(case.arguments.values())))
    many = repeated(bench, case, _TO_EXPLAIN, _seed(case) + 1)
    found = drawn(bench.evaluate(many)).reshape(_TO_EXPLAIN, images, -1).astype(np.float64)
    return Frequencies(np.einsum("rin,rim->inm", found, found), _TO_EXPLAIN)


def frequencies(probabilities: Probabilities, *, of_pairs: bool = False) -> Check:
    """Candidates, or pairs of them, of the first image are drawn as often as they must be."""

    def check(bench: Bench, case: Case) -> None:
        single, together = probabilities(one_image(settled(bench, case), 0))

        def test(seed: int) -> Suspicion:
            many = repeated(bench, one_image(case, 0), REPETITIONS, seed)
            found = drawn(bench.evaluate(many))
            return pairs(found, together) if of_pairs else inclusion(found, single, together)

        bench.expect_distribution(case, test, _seed(case))

    return check


def numbers_in_group(group: Callable[[Case], Array], mass: Callable[[Case], Float]) -> Check:
    """How many of a group of the first image are drawn follows a law: the probability of 0, 1, 2, ... of them."""

    def check(bench: Bench, case: Case) -> None:
        image = one_image(settled(bench, case), 0)
        members, expected = group(image), mass(image)

        def test(seed: int) -> Suspicion:
            many = repeated(bench, one_image(case, 0), REPETITIONS, seed)
            numbers = drawn(bench.evaluate(many))[:, members].sum(axis=-1)
            return categories(np.bincount(numbers, minlength=len(expected)), expected)

        bench.expect_distribution(case, test, _seed(case))

    return check


def hypergeometric(certain: int, drawn_of_rest: int, rest: int, members_of_rest: int, members: int) -> Float:
    """Probability of 0, 1, ... `members` if some are certain and the others belong to a rest drawn from uniformly."""
    from scipy import stats  # noqa: PLC0415 - takes a second: not in every process of a candidate

    numbers = np.arange(members + 1) - certain
    mass: Float = stats.hypergeom.pmf(numbers, rest, members_of_rest, drawn_of_rest)
    return mass


def systematic_keys(keys: Array, groups: Array) -> Array:
    """Keys of a mutant that draws a random member of each group and its neighbours: right for each, wrong for pairs."""
    rotated = np.zeros(keys.shape)
    for number, group in enumerate(np.unique(groups)):
        members = groups == group
        size = np.maximum(members.sum(axis=-1, keepdims=True), 1)
        own = number % keys.shape[-1]
        place, start = np.cumsum(members, axis=-1) - 1, np.floor(keys[..., own : own + 1] * size)
        rotated = np.where(members, (place + start) % size / size, rotated)
    return rotated


def _or(sizes: list[int]) -> str:
    return " or ".join(map(str, sizes))


def _seed(case: Case) -> int:
    return zlib.crc32(b"".join(np.ascontiguousarray(values).tobytes() for values in case.arguments.values()))
