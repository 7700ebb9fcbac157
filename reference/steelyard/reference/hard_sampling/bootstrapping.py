r"""Bootstrapping: train, collect the false positives, train with them as negatives, until there are none.

Sources: Sung & Poggio, "Example-based Learning for View-based Human Face Detection", AI Memo 1521 (1994), PAMI 1998;
Rowley, Baluja & Kanade, "Human Face Detection in Visual Scenes", NIPS 1995; Girshick et al., "Rich feature hierarchies"
(R-CNN), CVPR 2014 (arXiv 1311.2524), section 2.3, with its official code for the cache that forgets easy negatives.

The negatives of a detection task are too many to train with, and nearly all are easy. Bootstrapping begins with a few,
trains, lets the classifier look at the whole pool, and adds what it mistakes for an object. Each round is judged by a
classifier that does not change meanwhile. It is an algorithm over any classifier: two functions say how that is trained
and how it scores, and nothing else is known of it.
"""

from collections.abc import Callable
from typing import Any, Generic, NamedTuple, TypeVar

import numpy as np
from numpy.typing import ArrayLike, NDArray

from steelyard.reference.checks import (
    Bool,
    Float,
    Int,
    SpecError,
    bool_array,
    count,
    float_array,
    int_array,
    real_number,
)

Model = TypeVar("Model")
Samples = NDArray[Any]
"""Any array whose first axis is that of the samples: features, image patches, boxes."""


class Round(NamedTuple):
    """One look at the whole pool with one classifier."""

    num_false_positives: int
    """Candidates that were no negatives yet and scored above the threshold."""
    added: Int
    """Those that became negatives, by index."""
    evicted: Int
    """Negatives that the classifier trained with the added ones found easy, by index."""


class Bootstrapped(NamedTuple, Generic[Model]):
    """What `bootstrapping` returns."""

    model: Model
    negatives: Bool
    """Which candidates of the pool are negatives now."""
    rounds: tuple[Round, ...]
    converged: bool
    """Whether the last round found no false positive."""


def bootstrapping(  # noqa: PLR0913 - what is trained, on what, and the options of the algorithm by keyword
    fit: Callable[[Samples, Samples], Model],
    score: Callable[[Model, Samples], ArrayLike],
    positives: Samples,
    pool: Samples,
    seed: ArrayLike,
    *,
    add_threshold: float = 0.0,
    evict_threshold: float | None = None,
    max_new: int | None = None,
    max_rounds: int = 100,
    keys: ArrayLike | None = None,
) -> Bootstrapped[Model]:
    r"""Train on the positives and a growing set of negatives, those that the classifier takes for positives.

    1. $N$ := the seed; train.
    2. $F$ := the candidates outside $N$ that score above `add_threshold`. If there are none: converged.
    3. Of more than `max_new`, keep the hardest, or with `keys` a random subset.
    4. $N := N \cup F$; train; take from $N$ what scores below `evict_threshold`. Go to 2.

    Parameters
    ----------
    fit : function of (positives, negatives)
        Trains from scratch and returns a classifier. It must give equal ones for equal samples.
    score : function of (classifier, samples)
        A number for each sample, larger for what looks more like an object. Not NaN.
    positives : array, first axis: samples
        At least one. They are never removed.
    pool : array, first axis: M candidates
        None of them shows an object.
    seed : int
        Indices of the candidates to begin with.
    add_threshold : float
        A candidate is a false positive if it scores above this (strictly).
    evict_threshold : float or None
        A negative is easy if it scores below this (strictly). None: nothing is forgotten.
    max_new : int >= 1 or None
        Most negatives that a round may add (Rowley et al.: 250). None: all.
    max_rounds : int >= 1
    keys : float in [0, 1), shape (max_rounds, M), or None
        With random numbers, `max_new` false positives are drawn at random (Rowley et al.); without, the hardest taken.

    Returns
    -------
    Bootstrapped
        `model`, trained on the positives and `negatives` (with evicted ones, where the last round before convergence
        evicted some); `rounds`, the last one without false positives if it `converged`.

    Raises
    ------
    SpecError
        No positives, an index that is not in the pool, a score that is NaN, a number out of range, or
        `evict_threshold` above `add_threshold`: candidates would be added and evicted for ever.

    Source
    ------
    Sung & Poggio, section 2.4; Rowley et al., section 2.2; R-CNN, section 2.3 and appendix B. Rulings: a candidate is
    added once, and may return when it was evicted; no false positive in the first round means the classifier of the
    seed, and one round.

    Examples
    --------
    A classifier that puts the boundary half-way between the means. The first boundary is 2.25; with 3.5 and 3 as
    negatives it is 3.33, and nothing outside is above it any more.

    >>> def fit(positives, negatives):
    ...     return (positives.mean() + negatives.mean()) / 2
    >>> def score(boundary, samples):
    ...     return samples - boundary
    >>> pool = np.array([0.0, 1.0, 2.0, 2.5, 3.0, 3.5])
    >>> result = bootstrapping(fit, score, np.array([4.0, 5.0]), pool, [0], max_new=2)
    >>> pool[result.negatives], round(float(result.model), 4), result.converged
    (array([0. , 3. , 3.5]), 3.3333, True)
    >>> [mined.num_false_positives for mined in result.rounds]
    [3, 0]
    """
    # CHECKS
    num_candidates = len(pool)
    if len(positives) == 0:
        raise SpecError("positives: expected at least one, got none")
    held = np.zeros(num_candidates, dtype=np.bool_)
    held[int_array("seed", seed, low=0, high=num_candidates - 1)] = True
    add_threshold = real_number("add_threshold", add_threshold)
    if evict_threshold is not None and real_number("evict_threshold", evict_threshold) > add_threshold:
        raise SpecError(f"evict_threshold: expected at most {add_threshold} (add_threshold), got {evict_threshold}")
    max_rounds = count("max_rounds", max_rounds)
    key = None if keys is None else float_array("keys", keys, shape=(max_rounds, num_candidates))

    # RESULT
    rounds: list[Round] = []
    model = fit(positives, pool[held])
    while len(rounds) < max_rounds:
        scores = float_array("score", score(model, pool), shape=(num_candidates,))
        found = mine_false_positives(scores, held, add_threshold=add_threshold)
        if key is None:
            added = mine_false_positives(scores, held, add_threshold=add_threshold, max_new=max_new)
        else:
            added = mine_random_false_positives(
                scores, held, key[len(rounds)], add_threshold=add_threshold, max_new=max_new
            )
        evicted = np.zeros(num_candidates, dtype=np.bool_)
        if added.any():
            held |= added
            model = fit(positives, pool[held])
            if evict_threshold is not None:
                evicted[held] = float_array("score", score(model, pool[held])) < evict_threshold
                held &= ~evicted
        rounds.append(Round(int(found.sum()), np.flatnonzero(added), np.flatnonzero(evicted)))
        if not added.any():
            break
    return Bootstrapped(model, held, tuple(rounds), converged=rounds[-1].num_false_positives == 0)


def mine_false_positives(
    scores: ArrayLike, held: ArrayLike, *, add_threshold: float = 0.0, max_new: int | None = None
) -> Bool:
    """The candidates that one round of bootstrapping adds: the hardest false positives.

    Also the certificate of convergence: a classifier whose scores mine nothing has no false positive left in the pool.

    Parameters
    ----------
    scores : float, shape (..., M)
        Of the current classifier, larger for what looks more like an object; minus infinity for what must not be added.
    held : bool, shape of `scores`
        Which candidates are negatives already.
    add_threshold : float
        A candidate is a false positive if it scores above this (strictly).
    max_new : int >= 1 or None
        Most candidates to add; None: all false positives.

    Returns
    -------
    bool, shape of `scores`

    Raises
    ------
    SpecError
        Shapes differ, a score is NaN, a number is out of range.

    Source
    ------
    Sung & Poggio, section 2.4. Rulings: the hardest are those of the largest score, of equal scores the first.

    Examples
    --------
    Candidate 1 is a negative already; of the three false positives the two hardest.

    >>> mine_false_positives([0.5, 3.0, -1.0, 0.7, 0.6], [0, 1, 0, 0, 0], max_new=2)
    array([False, False, False,  True,  True])
    """
    # CHECKS
    score, false_positive = _false_positives(scores, held, add_threshold)

    # RESULT
    return _first_of_each(-score, false_positive, max_new)


def mine_random_false_positives(
    scores: ArrayLike, held: ArrayLike, keys: ArrayLike, *, add_threshold: float = 0.0, max_new: int | None = 250
) -> Bool:
    r"""The candidates that one round of bootstrapping adds, drawn at random from the false positives.

    With $F$ false positives each is drawn with probability $\min(1, n / F)$, $n$ = `max_new`, and every subset of that
    size is equally likely.

    Parameters
    ----------
    scores, held, add_threshold, max_new
        As in `mine_false_positives`.
    keys : float in [0, 1), shape of `scores`
        One random number a candidate: those with the smallest are drawn.

    Returns
    -------
    bool, shape of `scores`

    Raises
    ------
    SpecError
        Shapes differ, a score is NaN, a key is not in [0, 1), a number is out of range.

    Source
    ------
    Rowley et al., section 2.2: up to 250 false positives, at random. Ruling: of equal keys the first.

    Examples
    --------
    >>> mine_random_false_positives([0.5, 3.0, -1.0, 0.7], [0, 0, 0, 0], [0.2, 0.9, 0.0, 0.4], max_new=2)
    array([ True, False, False,  True])
    """
    # CHECKS
    _, false_positive = _false_positives(scores, held, add_threshold)
    key = float_array("keys", keys, shape=false_positive.shape)
    if not ((key >= 0.0) & (key < 1.0)).all():
        raise SpecError("keys: expected numbers in [0, 1), got one outside or NaN")

    # RESULT
    return _first_of_each(key, false_positive, max_new)


def _false_positives(scores: ArrayLike, held: ArrayLike, add_threshold: float) -> tuple[Float, Bool]:
    """Scores, and which candidates score above the threshold and are no negatives yet."""
    score = float_array("scores", scores)
    if score.ndim == 0:
        raise SpecError("scores: expected shape (..., M), got ()")
    if np.isnan(score).any():
        raise SpecError("scores: expected numbers, got NaN")
    negative = bool_array("held", held, shape=score.shape)
    return score, (score > real_number("add_threshold", add_threshold)) & ~negative


def _first_of_each(order_by: Float, group: Bool, number: int | None) -> Bool:
    """Of each pool the members of the group that come first in this order; of equal ones those of the lower index."""
    if number is None:
        return group
    number = count("max_new", number)
    chosen = np.zeros(group.shape, dtype=np.bool_)
    for pool in np.ndindex(group.shape[:-1]):
        members = np.flatnonzero(group[pool])
        order = np.argsort(order_by[pool][members], kind="stable")
        chosen[pool][members[order[:number]]] = True
    return chosen
