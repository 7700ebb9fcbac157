"""Known mistakes of adversarial spatial dropout."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np

from steelyard.conformance import plain_mistakes as mistakes
from steelyard.conformance.contract import Array, Mutant
from steelyard.reference.generative import adversarial_dropout as oracle

Function = Callable[..., Any]
_CODE = "xiaolonw/adversarial-frcnn, lib/roi_data_layer/layer.py"
_MASK, _REWARD = oracle.adversarial_dropout_mask, oracle.dropout_is_rewarded
_LOSS, _LOSS_GRAD = oracle.dropout_mask_loss, oracle.dropout_mask_loss_grad


def foreground(labels: Array, num_classes: int) -> Array:
    """Which RoIs are positives."""
    return np.asarray((labels >= 0) & (labels < num_classes))


# --- masks ----------------------------------------------------------------------------------------------------

Choice = Callable[[Array, Array, int, int], Array]
"""Cells of one RoI, by probabilities and keys [N], the number of candidates and that of dropped ones."""


def _top(values: Array, number: int) -> Array:
    chosen = np.zeros(values.shape, dtype=bool)
    chosen[np.argsort(-values, kind="stable")[: max(number, 0)]] = True
    return chosen


def _right_choice(p: Array, key: Array, m: int, q: int) -> Array:
    return _top(np.where(_top(p, m), -key, -np.inf), min(q, m, p.size))


def _dropping(choose: Choice, taken: Callable[[Array, int], Array] = foreground) -> Function:
    """Another choice of cells, or of the RoIs that have a mask."""

    def mutant(probabilities: Array, labels: Array, keys: Array, *, num_classes: int, num_candidates: int,
               num_dropped: int) -> Array:  # fmt: skip
        right = _MASK(probabilities, labels, keys, num_classes=num_classes, num_candidates=num_candidates,
                      num_dropped=num_dropped)  # fmt: skip
        for i, own in enumerate(taken(np.asarray(labels), num_classes)):
            p, key = (np.asarray(a, dtype=np.float64)[i].ravel() for a in (probabilities, keys))
            right[i] = own and choose(p, key, num_candidates, num_dropped).reshape(right[i].shape)
        return right

    return mutant


def _of_the_batch(**keywords: Any) -> Array:  # noqa: ANN401
    """Candidates ranked over all RoIs together."""
    p = np.asarray(keywords["probabilities"])
    ranks = np.argsort(np.argsort(-p.ravel(), kind="stable"), kind="stable").reshape(p.shape)
    candidates = ranks < keywords["num_candidates"] * max(len(p), 1)
    return np.asarray(_MASK(**keywords) & candidates)


def _favouring(probabilities: Array, labels: Array, *, num_classes: int, num_candidates: int,
               num_dropped: int) -> Array:  # fmt: skip
    """Own keys, of which those of likelier cells are smaller."""
    keys = _own_keys(probabilities) * 0.05 ** np.asarray(probabilities, dtype=np.float64)
    return _MASK(probabilities, labels, keys, num_classes=num_classes, num_candidates=num_candidates,
                 num_dropped=num_dropped)  # fmt: skip


def _in_runs(probabilities: Array, labels: Array, *, num_classes: int, num_candidates: int,
             num_dropped: int) -> Array:  # fmt: skip
    """Own keys that drop candidates in a run of ranks from a random one on: each as often as it must be, pairs not."""
    p = np.asarray(probabilities, dtype=np.float64).reshape(len(probabilities), -1)
    m = min(num_candidates, p.shape[1])
    ranks = np.argsort(np.argsort(-p, axis=1, kind="stable"), axis=1, kind="stable")
    start = (_own_keys(p[:, :1]) * max(m, 1)).astype(int)
    keys = np.where(ranks < m, (ranks - start) % max(m, 1), 0) / 64.0
    return _MASK(probabilities, labels, keys.reshape(np.shape(probabilities)), num_classes=num_classes,
                 num_candidates=num_candidates, num_dropped=num_dropped)  # fmt: skip


def _own_keys(like: Array) -> Array:
    return np.random.default_rng(int(np.sum(like) * 64) + np.size(like)).random(np.shape(like))


MASK_MUTANTS = (
    Mutant("dropout-mask/least-likely", "candidates of the lowest probabilities", _dropping(
        lambda p, key, m, q: _right_choice(-p, key, m, q))),
    Mutant("dropout-mask/any-cell", "all cells as candidates", _dropping(
        lambda p, key, _, q: _right_choice(p, key, p.size, q))),
    Mutant("dropout-mask/not-random", "the likeliest cells, without a draw", _dropping(
        lambda p, _, m, q: _top(p, min(m, q)))),
    Mutant("dropout-mask/largest-keys", "the largest keys in place of the smallest", _dropping(
        lambda p, key, m, q: _right_choice(p, -key, m, q))),
    Mutant("dropout-mask/coins", "a coin for each candidate in place of a fixed number", _dropping(
        lambda p, key, m, q: _top(p, m) & (key < q / max(m, 1)))),
    Mutant("dropout-mask/one-more", "one cell more than asked for", _dropping(
        lambda p, key, m, q: _right_choice(p, key, m, q + 1))),
    Mutant("dropout-mask/half-of-all", "half of all cells as candidates, as the paper says, whatever is asked for",
           _dropping(lambda p, key, _, q: _right_choice(p, key, p.size // 2, q))),
    Mutant("dropout-mask/threshold", "only cells of a probability of at least 1/2 as candidates", _dropping(
        lambda p, key, m, q: _right_choice(p, key, m, q) & (p >= 0.5))),
    Mutant("dropout-mask/kept", "the cells that are kept: 1 read as keep", _dropping(
        lambda p, key, m, q: ~_right_choice(p, key, m, q)), seen_in=_CODE),
    Mutant("dropout-mask/last-of-equal", "of equal probabilities the last", _dropping(
        lambda p, key, m, q: _right_choice(p[::-1], key[::-1], m, q)[::-1])),
    Mutant("dropout-mask/of-the-batch", "candidates of the whole batch together", _of_the_batch),
    Mutant("dropout-mask/background", "masks of background too", _dropping(
        _right_choice, lambda labels, _: labels >= 0)),
    Mutant("dropout-mask/ignored", "masks of ignored RoIs too", _dropping(_right_choice, lambda labels, c: labels < c)),
    Mutant("dropout-mask/favouring", "random numbers that favour likelier candidates", _favouring,
           draws_own_keys=True),
    Mutant("dropout-mask/in-runs", "candidates of neighbouring ranks dropped together", _in_runs, draws_own_keys=True),
    Mutant("dropout-mask/in-place", "its inputs overwritten", mistakes.overwriting(_MASK, "probabilities")),
    Mutant("dropout-mask/broadcast", "labels repeated for another number of RoIs",
           mistakes.broadcasting(_MASK, "labels", "probabilities")),
    Mutant("dropout-mask/unchecked", "no check of its options", mistakes.unchecked(
        _MASK, num_dropped=lambda number: max(number, 0))),
    Mutant("dropout-mask/raises-on-empty", "an error where there is no RoI",
           mistakes.failing_on_empty(_MASK, "probabilities")),
)  # fmt: skip

# --- reward ---------------------------------------------------------------------------------------------------


def _rewarding(deserves: Callable[[Array, Array, float], Array],
               taken: Callable[[Array, int], Array] = foreground) -> Function:  # fmt: skip
    def mutant(before: Array, after: Array, labels: Array, *, num_classes: int, margin: float) -> Array:
        _REWARD(before, after, labels, num_classes=num_classes, margin=margin)
        first, second = (np.asarray(a, dtype=np.float64) for a in (before, after))
        return np.asarray(deserves(first, second, margin) & taken(np.asarray(labels), num_classes))

    return mutant


def _drop(before: Array, after: Array, margin: float) -> Array:
    return np.asarray(before - after > margin)


REWARD_MUTANTS = (
    Mutant("dropout-reward/at-the-margin", "a drop equal to the margin rewarded", _rewarding(
        lambda before, after, margin: before - after >= margin)),
    Mutant("dropout-reward/any-drop", "every drop rewarded", _rewarding(lambda before, after, _: before > after)),
    Mutant("dropout-reward/upside-down", "a rise rewarded", _rewarding(
        lambda before, after, margin: after - before > margin)),
    Mutant("dropout-reward/change", "a change up or down rewarded", _rewarding(
        lambda before, after, margin: np.abs(before - after) > margin)),
    Mutant("dropout-reward/relative", "the drop as a share of the probability before", _rewarding(
        lambda before, after, margin: before - after > margin * before)),
    Mutant("dropout-reward/background", "background rewarded too", _rewarding(_drop, lambda labels, _: labels >= 0)),
    Mutant("dropout-reward/ignored", "ignored RoIs rewarded too", _rewarding(_drop, lambda labels, c: labels < c)),
    Mutant("dropout-reward/first-class", "label 0 read as background", _rewarding(
        _drop, lambda labels, c: (labels > 0) & (labels < c))),
    Mutant("dropout-reward/in-place", "its inputs overwritten", mistakes.overwriting(_REWARD, "before")),
    Mutant("dropout-reward/broadcast", "probabilities repeated for another number of RoIs",
           mistakes.broadcasting(_REWARD, "after", "before")),
    Mutant("dropout-reward/unchecked", "no check of its options", mistakes.unchecked(
        _REWARD, margin=lambda margin: min(margin, 1.0))),
    Mutant("dropout-reward/raises-on-empty", "an error where there is no RoI",
           mistakes.failing_on_empty(_REWARD, "before")),
)  # fmt: skip

# --- loss -----------------------------------------------------------------------------------------------------


def _scaled(factor: Callable[[Array, Array], float]) -> tuple[Function, Function]:
    """The loss and its gradient by a factor of the logits and the rewarded RoIs."""

    def loss(logits: Array, targets: Array, rewarded: Array) -> Array:
        return np.asarray(_LOSS(logits, targets, rewarded) * factor(np.asarray(logits), np.asarray(rewarded)))

    def grad(logits: Array, targets: Array, rewarded: Array) -> Array:
        return np.asarray(_LOSS_GRAD(logits, targets, rewarded) * factor(np.asarray(logits), np.asarray(rewarded)))

    return loss, grad


def _with(name: str, change: Callable[[Array], Array]) -> tuple[Function, Function]:
    """An argument changed before."""
    return (
        lambda **k: _LOSS(**{**k, name: change(np.asarray(k[name]))}),
        lambda **k: _LOSS_GRAD(**{**k, name: change(np.asarray(k[name]))}),
    )


def _overflowing(logits: Array, targets: Array, rewarded: Array) -> Array:
    """log(1 + exp(f)) - t f, in the precision of the logits."""
    f = np.asarray(logits)
    with np.errstate(all="ignore"):
        cells = np.log(1 + np.exp(f)) - np.asarray(targets, dtype=f.dtype) * f
    right = _LOSS(logits, targets, rewarded)
    own = np.where(np.asarray(rewarded, dtype=bool)[:, None, None], cells, 0).sum() / max(f.size, 1)
    return right if np.isfinite(own) else np.asarray(own, dtype=np.float64)


def _clipped(logits: Array, targets: Array, rewarded: Array) -> Array:
    """Probabilities clipped to [1e-6, 1 - 1e-6]."""
    limit = np.log((1 - 1e-6) / 1e-6)
    return _LOSS(np.clip(logits, -limit, limit), targets, rewarded)


def _zeros_weighed_down(logits: Array, targets: Array, rewarded: Array) -> Array:
    return np.asarray(_LOSS_GRAD(logits, targets, rewarded) * (np.asarray(targets) == 1))


def _pair(name: str, summary: str, functions: tuple[Function, Function]) -> Mutant:
    return Mutant(name, summary, functions[0], functions[1])


LOSS_MUTANTS = (
    _pair("dropout-loss/rewarded-cells", "the mean over the cells of rewarded RoIs", _scaled(
        lambda f, rewarded: len(f) / max(int(rewarded.sum()), 1))),
    _pair("dropout-loss/sum", "the sum over all cells", _scaled(lambda f, _: f.size)),
    _pair("dropout-loss/over-rois", "the sum over the number of RoIs", _scaled(lambda f, _: f[:1].size)),
    _pair("dropout-loss/all", "all RoIs, rewarded or not", _with("rewarded", np.ones_like)),
    _pair("dropout-loss/others", "the RoIs without a reward", _with("rewarded", lambda r: 1 - r.astype(int))),
    _pair("dropout-loss/kept", "a mask whose 1 means keep", _with("targets", lambda t: 1 - t.astype(int))),
    Mutant("dropout-loss/overflow", "an exponential that overflows", _overflowing),
    Mutant("dropout-loss/clipped", "probabilities clipped before the logarithm", _clipped),
    Mutant("dropout-loss/zeros-weighed-down", "cells of target 0 without a gradient", _LOSS, _zeros_weighed_down,
           seen_in=_CODE),
    Mutant("dropout-loss/in-place", "its inputs overwritten", mistakes.overwriting(_LOSS, "logits")),
    Mutant("dropout-loss/broadcast", "rewards repeated for another number of RoIs",
           mistakes.broadcasting(_LOSS, "rewarded", "logits")),
    Mutant("dropout-loss/raises-on-empty", "an error where there is no RoI",
           mistakes.failing_on_empty(_LOSS, "logits")),
)  # fmt: skip
