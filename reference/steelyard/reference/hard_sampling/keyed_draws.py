"""Random draws without replacement, made of explicit uniform keys: what the samplers have in common.

The smallest of independent uniform keys belong to a uniformly random subset. A choice is therefore a function of its
keys, and two implementations that get the same keys choose the same.
"""

import numpy as np

from steelyard.reference.checks import Bool, Float, Int


def smallest_keys(keys: Float, group: Bool, number: int) -> Bool:
    """The members of a group with the smallest keys; of equal keys the first."""
    members = np.flatnonzero(group)
    order: Int = np.argsort(keys[members], kind="stable")
    chosen = np.zeros(group.shape, dtype=np.bool_)
    chosen[members[order[:number]]] = True
    return chosen


def draw_by_groups(groups: Int, keys: Float, fill_keys: Float, *, quota: int, total: int) -> Bool:
    """At most `quota` of each group (-1: of none), then as many of all groups together as make up `total`.

    Each group gives its members with the smallest keys. If these are fewer than `total`, those with the smallest
    `fill_keys` among the others join them; if they are more, those with the smallest `fill_keys` stay. The second keys
    are fresh ones: what a large group leaves over has smaller keys than what a small one does.
    """
    members = groups >= 0
    drawn = np.zeros(groups.shape, dtype=np.bool_)
    for group in np.unique(groups[members]):
        drawn |= smallest_keys(keys, groups == group, quota)
    stay = smallest_keys(fill_keys, drawn, total)
    return stay | smallest_keys(fill_keys, members & ~drawn, total - stay.sum())


def probabilities_by_groups(groups: Int, *, quota: int, total: int) -> tuple[Float, Float]:
    r"""Probability of each candidate, and of each pair, to be drawn by `draw_by_groups`; on the diagonal the first.

    Of a group of size $m$ the first step takes $t = \min(quota, m)$. Of the $T$ that it takes and the $U$ that it
    leaves in all, the second keeps $\min(T, total)$ and adds $R = \min(U, total - T)$, if that is above 0. So with
    $k_1, k_2$ the probabilities that one or two of those taken stay, and $f_1, f_2$ that one or two of those left join,

    $$ \pi = \frac{t}{m} k_1 + \Big(1 - \frac{t}{m}\Big) f_1; $$

    a pair has the same with $k_2$ if both were taken, $f_2$ if neither was, and $f_1$ if one was: either nobody is
    dropped or nobody joins.
    """
    member = np.flatnonzero(groups >= 0)
    group = groups[member]
    same = np.equal.outer(group, group)
    size = same.sum(axis=1).astype(np.float64)
    taken = np.minimum(float(quota), size)
    one = taken / size
    among = taken * (taken - 1.0) / np.maximum(size * (size - 1.0), 1.0)
    both = np.where(same, among[:, np.newaxis], np.outer(one, one))
    neither = 1.0 - one[:, np.newaxis] - one[np.newaxis, :] + both
    all_taken = round(float(one.sum()))
    left = member.size - all_taken
    stay_1, stay_2 = _subset(min(all_taken, total), all_taken)
    join_1, join_2 = _subset(min(left, max(total - all_taken, 0)), left)

    single = np.zeros(groups.size)
    single[member] = one * stay_1 + (1.0 - one) * join_1
    pair = np.zeros((groups.size, groups.size))
    pair[np.ix_(member, member)] = both * stay_2 + (1.0 - both - neither) * join_1 + neither * join_2
    np.fill_diagonal(pair, single)
    return single, pair


def _subset(number: int, size: int) -> tuple[float, float]:
    """Probability of one and of two given members of a set to be among `number` of them drawn uniformly."""
    one = number / size if size else 0.0
    two = number * (number - 1) / (size * (size - 1)) if size > 1 else 0.0
    return one, two
