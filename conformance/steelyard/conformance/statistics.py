r"""Judging random choices by their distribution.

A technique that takes explicit uniform keys is compared exactly. What remains is whether the choices have the right
distribution, for candidates that draw their own random numbers and for the oracle's own definition. Three tests, on R
independent repetitions with exact probabilities from the specification:

- *inclusion*: how often each item was chosen. With $p$ the inclusion probabilities and $\Sigma_{ij} = p_{ij} - p_i p_j$
  from the exact pair probabilities, $(c - Rp)^T (R\Sigma)^+ (c - Rp)$ is asymptotically $\chi^2$ with rank$(\Sigma)$
  degrees of freedom. Components that cannot vary are compared exactly.
- *pairs*: how often each pair was chosen together: exact binomial tests, the smallest p-value times their number.
- *categories*: a $\chi^2$ test of counts against a probability mass function, cells of expectation below 10 pooled.

**False alarms.** A run makes at most 1000 such tests. A test is red only if its p-value is below $10^{-4}$ and, on a
fresh seed, below $10^{-5}$: by independence $10^{-9}$ a test, $10^{-6}$ a run, for a candidate that is right.

**Power.** `power_of_inclusion` gives the probability that a bias is found. With the 8,000 repetitions of the `default`
profile and 5 of 10 items chosen, an item chosen 10 % too often (0.55 for 0.5) is found with a probability above 0.999.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import numpy as np

from steelyard.conformance.contract import Array
from steelyard.conformance.precision import Float

FALSE_ALARM_OF_A_RUN = 1e-6
TESTS_AT_MOST = 1000
FIRST_LEVEL = 1e-4
SECOND_LEVEL = 1e-5
_EXPECTED_AT_LEAST = 10.0
_CERTAIN = 1e-12
_SAME_LEVEL = 1e-3


@dataclass(frozen=True)
class Frequencies:
    """How often each of some things happened in so many independent repetitions."""

    counts: Float
    repetitions: int


@dataclass(frozen=True)
class Suspicion:
    """A p-value, and the sentence that says where the counts are furthest from what they should be."""

    p_value: float
    sentence: str
    frequencies: Frequencies | None = None


def inclusion(chosen: Array, probabilities: Float, joint: Float) -> Suspicion:
    """Test which items were chosen: `chosen` bool [R, n], inclusion probabilities [n], pair probabilities [n, n]."""
    repetitions = len(chosen)
    counts = chosen.sum(axis=0).astype(np.float64)
    expected = repetitions * probabilities
    never, always = probabilities <= _CERTAIN, probabilities >= 1.0 - _CERTAIN
    broken = (never & (counts > 0)) | (always & (counts < repetitions))
    spread = np.sqrt(np.maximum(expected * (1.0 - probabilities), _CERTAIN))
    worst = int(np.argmax(np.where(broken, np.inf, np.abs(counts - expected) / spread))) if counts.size else 0
    found = Frequencies(counts, repetitions)
    sentence = _frequency(f"item {worst}", counts, probabilities, worst, repetitions)
    if broken.any():
        return Suspicion(0.0, sentence, found)
    covariance = repetitions * (joint - np.outer(probabilities, probabilities))
    rank = int(np.linalg.matrix_rank(covariance, tol=1e-8 * repetitions, hermitian=True)) if counts.size else 0
    if rank == 0:
        return Suspicion(1.0, sentence)
    difference = counts - expected
    inverse = np.linalg.pinv(covariance, rcond=1e-8, hermitian=True)
    outside = difference - covariance @ (inverse @ difference)
    if np.abs(outside).max() > 1e-6 * repetitions:  # a sum that cannot vary does, such as the number of items chosen
        return Suspicion(0.0, f"the number of items chosen is wrong: {chosen.sum(axis=1).mean():.4f} on average, "
                              f"expected {probabilities.sum():.4f}", found)  # fmt: skip
    statistic = float(difference @ inverse @ difference)
    return Suspicion(float(_stats().chi2.sf(statistic, rank)), sentence, found)


def pairs(chosen: Array, joint: Float) -> Suspicion:
    """Test which pairs were chosen together, exactly, with the number of pairs as Bonferroni's factor."""
    repetitions, items = chosen.shape
    together = chosen.astype(np.float64).T @ chosen.astype(np.float64)
    smallest, where = 1.0, (0, 0)
    for i in range(items):
        for j in range(i + 1, items):
            probability = float(np.clip(joint[i, j], 0.0, 1.0))
            p_value = _stats().binomtest(round(together[i, j]), repetitions, probability).pvalue
            if p_value < smallest:
                smallest, where = float(p_value), (i, j)
    count = items * (items - 1) // 2
    i, j = where
    sentence = (
        f"items {i} and {j} together: {together[i, j] / repetitions:.4f}, expected {joint[i, j]:.4f}" if count else ""
    )
    return Suspicion(min(1.0, smallest * max(count, 1)), sentence, Frequencies(together, repetitions))


def categories(counts: Array, mass: Float) -> Suspicion:
    """Test counts [k] against a probability mass function [k]."""
    total = float(np.sum(counts))
    expected = total * mass
    impossible = (mass <= 0.0) & (counts > 0)
    worst = int(
        np.argmax(np.where(impossible, np.inf, np.abs(counts - expected) / np.sqrt(np.maximum(expected, 1e-12))))
    )
    sentence = f"category {worst}: {counts[worst] / max(total, 1.0):.4f}, expected {mass[worst]:.4f}"
    found = Frequencies(np.asarray(counts, dtype=np.float64), round(max(total, 1.0)))
    if impossible.any():
        return Suspicion(0.0, sentence, found)
    small = expected < _EXPECTED_AT_LEAST
    observed = np.append(counts[~small], counts[small].sum())
    wanted = np.append(expected[~small], expected[small].sum())
    observed, wanted = observed[wanted > 0], wanted[wanted > 0]
    if len(wanted) < 2:
        return Suspicion(1.0, sentence)
    wanted *= observed.sum() / wanted.sum()  # the last digits of the mass
    return Suspicion(float(_stats().chisquare(observed, wanted).pvalue), sentence, found)


def suspect(test: Callable[[int], Suspicion], seed: int) -> Suspicion | None:
    """Run a test, and again on a fresh seed if it looks bad; a suspicion only if both agree.

    Each call of `test` must use fresh random numbers, made from the seed that it gets.
    """
    first = test(2 * seed)
    if first.p_value >= FIRST_LEVEL:
        return None
    second = test(2 * seed + 1)
    return second if second.p_value < SECOND_LEVEL else None


def same_frequencies(one: Frequencies, other: Frequencies) -> bool:
    """Whether two samples may have the same probabilities: every difference within its spread (level 1e-3 in all)."""
    if one.counts.shape != other.counts.shape:
        return False
    shares = [sample.counts / sample.repetitions for sample in (one, other)]
    pooled = (one.counts + other.counts) / (one.repetitions + other.repetitions)
    spread = np.sqrt(pooled * (1.0 - pooled) * (1.0 / one.repetitions + 1.0 / other.repetitions))
    most = float(_stats().norm.isf(_SAME_LEVEL / (2.0 * max(one.counts.size, 1))))
    return bool((np.abs(shares[0] - shares[1]) <= most * spread).all())


def power_of_inclusion(probability: float, biased: float, repetitions: int) -> float:
    """Probability that one item, chosen with a biased probability, is found by its own count (normal approximation).

    The inclusion test looks at all items at once; this is what it can do at least for a bias on one item, with
    Bonferroni's factor 10 standing in for the other degrees of freedom.
    """
    found = 1.0
    for level in (FIRST_LEVEL, SECOND_LEVEL):
        threshold = _stats().norm.isf(level / 20.0) * math.sqrt(probability * (1 - probability) / repetitions)
        spread = math.sqrt(biased * (1 - biased) / repetitions)
        shift = abs(biased - probability)
        found *= float(_stats().norm.sf((threshold - shift) / spread))
    return found


def inclusion_without_replacement(chosen: int, items: int) -> tuple[Float, Float]:
    """Exact inclusion and pair probabilities of `chosen` of `items` drawn uniformly without replacement."""
    k, n = min(chosen, items), items
    probability = k / n if n else 0.0
    together = k * (k - 1) / (n * (n - 1)) if n > 1 else 0.0
    joint = np.full((n, n), together)
    np.fill_diagonal(joint, probability)
    return np.full(n, probability), joint


def uniform_keys(shape: tuple[int, ...], seed: int, dtype: Any = np.float64) -> Array:  # noqa: ANN401
    """Independent uniform keys in [0, 1)."""
    return np.random.default_rng(seed).random(shape).astype(dtype)


def _frequency(what: str, counts: Array, probabilities: Float, at: int, repetitions: int) -> str:
    if not counts.size:
        return "no item"
    share = counts[at] / repetitions
    return f"{what}: chosen in {share:.4f} of {repetitions} repetitions, expected {probabilities[at]:.4f}"


def _stats() -> Any:  # noqa: ANN401
    """scipy.stats, which takes a second to import: not in every process of a candidate."""
    from scipy import stats  # noqa: PLC0415

    return stats
