"""Known wrong versions of a round of bootstrapping."""

from __future__ import annotations

import zlib
from collections.abc import Callable
from typing import Any

import numpy as np

from steelyard.conformance import plain_mistakes as mistakes
from steelyard.conformance.contract import Array, Mutant
from steelyard.conformance.hard_sampling.mining_inputs import Function, largest
from steelyard.reference.hard_sampling import bootstrapping as oracle

_HARDEST, _RANDOM = oracle.mine_false_positives, oracle.mine_random_false_positives


def _again(scores: Array, held: Array, **o: Any) -> Array:  # noqa: ANN401
    return _HARDEST(scores, np.zeros_like(held), **o)


def _at_the_threshold(scores: Array, held: Array, **o: Any) -> Array:  # noqa: ANN401
    raised = np.asarray(scores, dtype=np.float64)
    return _HARDEST(np.where(raised == o["add_threshold"], raised + 1e-3, raised), held, **o)


def _easiest(scores: Array, held: Array, **o: Any) -> Array:  # noqa: ANN401
    found = _HARDEST(scores, held, **{**o, "max_new": None})
    return _capped(found, -np.asarray(scores, dtype=np.float64), o["max_new"])


def _first(scores: Array, held: Array, **o: Any) -> Array:  # noqa: ANN401
    return _capped(_HARDEST(scores, held, **{**o, "max_new": None}), np.zeros(np.shape(scores)), o["max_new"])


def _cap_before_negatives(scores: Array, held: Array, **o: Any) -> Array:  # noqa: ANN401
    """The cap counts candidates that are negatives already."""
    return np.asarray(_HARDEST(scores, np.zeros_like(held), **o) & ~np.asarray(held, bool))


def _capped(found: Array, order_by: Array, number: int | None) -> Array:
    if number is None:
        return found
    chosen = np.zeros(found.shape, bool)
    for pool in np.ndindex(found.shape[:-1]):
        chosen[pool] = largest(found[pool], order_by[pool], number)
    return chosen


def _one_cap(scores: Array, held: Array, **o: Any) -> Array:  # noqa: ANN401
    return _HARDEST(np.ravel(scores), np.ravel(held), **o).reshape(np.shape(scores))


def _without_threshold(scores: Array, held: Array, **o: Any) -> Array:  # noqa: ANN401
    return _HARDEST(scores, held, **{**o, "add_threshold": 0.0})


def _last_of_equals(scores: Array, held: Array, **o: Any) -> Array:  # noqa: ANN401
    return _HARDEST(scores[..., ::-1], held[..., ::-1], **o)[..., ::-1]


def _infinity_is_nothing(scores: Array, held: Array, **o: Any) -> Array:  # noqa: ANN401
    return _HARDEST(np.where(np.isinf(scores), -1e9, scores), held, **o)


def _without_convergence(scores: Array, held: Array, **o: Any) -> Array:  # noqa: ANN401
    """The hardest candidate is added where there is no false positive, so that no round is the last."""
    right = _HARDEST(scores, held, **o)
    found = _capped(~np.asarray(held, bool), np.asarray(scores, dtype=np.float64), 1)
    return np.where(right.any(axis=-1, keepdims=True), right, found)


def _plain(function: Function, prefix: str) -> tuple[Mutant, ...]:
    return (
        Mutant(f"{prefix}/first-candidates-only", "candidates beyond the 16,384th never looked at",
               _only_the_first(function)),
        Mutant(f"{prefix}/in-place", "its inputs overwritten", mistakes.overwriting(function, "scores")),
        Mutant(f"{prefix}/unchecked", "no check of its options",
               mistakes.unchecked(function, max_new=lambda v: v if v is None else max(v, 1))),
        Mutant(f"{prefix}/broadcast", "negatives repeated for scores of another number of pools",
               mistakes.broadcasting(function, "held", "scores")),
        Mutant(f"{prefix}/raises-on-empty", "an error where there is no candidate",
               mistakes.failing_on_empty(function, "scores")),
        Mutant(f"{prefix}/one-axis-of-pools", "pools along two axes taken for those of the first",
               mistakes.images_along_one_axis(function, "scores")),
    )  # fmt: skip


def _only_the_first(function: Function) -> Function:
    """Candidates beyond the 16,384th count as negatives already."""

    def mutant(**keywords: Any) -> Array:  # noqa: ANN401
        held = np.asarray(keywords["held"])
        return function(**{**keywords, "held": held | (np.arange(held.shape[-1]) >= 16_384)})

    return mutant


def _without_keys(change: Callable[[Array, Array], Array]) -> Function:
    """Draws its own keys, and not evenly; only its distribution can be judged."""

    def mutant(scores: Array, held: Array, **o: Any) -> Array:  # noqa: ANN401
        random = np.random.default_rng(zlib.crc32(np.asarray(scores).tobytes()))
        keys = change(random.random(np.shape(scores)), np.asarray(scores, dtype=np.float64))
        return _RANDOM(scores, held, np.clip(keys, 0.0, 1.0 - 1e-9), **o)

    return mutant


def _neighbours(keys: Array, scores: Array) -> Array:
    """A random start among the false positives, and those that follow."""
    group = scores > 0.0
    size = np.maximum(group.sum(axis=-1, keepdims=True), 1)
    place = np.cumsum(group, axis=-1) - 1
    return np.asarray((place + np.floor(keys[..., :1] * size)) % size / size)


def _hardest_instead(scores: Array, held: Array, keys: Array, **o: Any) -> Array:  # noqa: ANN401
    _RANDOM(scores, held, keys, **o)
    return _HARDEST(scores, held, **o)


def _largest_keys(scores: Array, held: Array, keys: Array, **o: Any) -> Array:  # noqa: ANN401
    found = _RANDOM(scores, held, keys, **{**o, "max_new": None})
    return _capped(found, np.asarray(keys, dtype=np.float64), o["max_new"])


def _last_of_equal_keys(scores: Array, held: Array, keys: Array, **o: Any) -> Array:  # noqa: ANN401
    return _RANDOM(scores[..., ::-1], held[..., ::-1], keys[..., ::-1], **o)[..., ::-1]


def _random_at_the_threshold(scores: Array, held: Array, keys: Array, **o: Any) -> Array:  # noqa: ANN401
    raised = np.asarray(scores, dtype=np.float64)
    return _RANDOM(np.where(raised == o["add_threshold"], raised + 1e-3, raised), held, keys, **o)


def _random_again(scores: Array, held: Array, keys: Array, **o: Any) -> Array:  # noqa: ANN401
    return _RANDOM(scores, np.zeros_like(held), keys, **o)


HARDEST_MUTANTS = (
    Mutant("false-positives/again", "negatives added again", _again),
    Mutant("false-positives/at-the-threshold", "candidates at the threshold added", _at_the_threshold),
    Mutant("false-positives/easiest", "the easiest false positives", _easiest),
    Mutant("false-positives/first", "the first false positives instead of the hardest", _first),
    Mutant("false-positives/cap-before-negatives", "a cap that counts what is a negative already",
           _cap_before_negatives),
    Mutant("false-positives/one-cap", "one cap for all pools", _one_cap),
    Mutant("false-positives/threshold-of-0", "a threshold of 0, whatever is asked for", _without_threshold),
    Mutant("false-positives/last-of-equals", "of equal scores the last candidate's", _last_of_equals),
    Mutant("false-positives/infinity-is-nothing", "infinite scores never added", _infinity_is_nothing),
    Mutant("false-positives/no-last-round", "a candidate added where there is no false positive",
           _without_convergence),
    *_plain(_HARDEST, "false-positives"),
)  # fmt: skip
RANDOM_MUTANTS = (
    Mutant("random-false-positives/hardest", "the hardest instead of random ones", _hardest_instead),
    Mutant("random-false-positives/largest-keys", "the largest keys instead of the smallest", _largest_keys),
    Mutant("random-false-positives/again", "negatives added again", _random_again),
    Mutant("random-false-positives/at-the-threshold", "candidates at the threshold added", _random_at_the_threshold),
    Mutant("random-false-positives/last-of-equal-keys", "of equal keys the last candidate's", _last_of_equal_keys),
    Mutant("random-false-positives/favours-the-first", "a bias towards the first candidate",
           _without_keys(lambda keys, _: np.where(np.arange(keys.shape[-1]) == 0, keys**1.5, keys)),
           draws_own_keys=True),
    Mutant("random-false-positives/neighbours", "neighbours drawn together: right for each candidate, not for pairs",
           _without_keys(_neighbours), draws_own_keys=True),
    *_plain(_RANDOM, "random-false-positives"),
)  # fmt: skip
