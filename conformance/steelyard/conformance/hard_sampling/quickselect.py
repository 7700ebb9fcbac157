"""Which of equal losses a quickselect takes: those that GNU's `std::nth_element` happens to leave in front.

`torch.topk` on a CPU calls it, and so do ports that select without a sort. Other libraries, and other devices, take
others: nobody promises an order of what is equal.
"""

from __future__ import annotations

import numpy as np

from steelyard.conformance.contract import Array
from steelyard.conformance.hard_sampling.mining_inputs import largest

_SORTED_AT_ONCE = 3  # elements left over
_ONE_IN = 64  # torch.topk sorts a part where it takes fewer than this


def quickselected(group: Array, losses: Array, number: int) -> Array:
    """As `largest`, but of equal losses those that a quickselect takes; of one in 64 and fewer still the first."""
    members = np.flatnonzero(group)
    if not 0 < number < len(members) or number * _ONE_IN <= len(members):
        return largest(group, losses, number)
    _, ranks = np.unique(-losses[members], return_inverse=True)
    chosen = np.zeros(group.shape, bool)
    chosen[members[_in_front(ranks.tolist(), number)]] = True
    return chosen


def _in_front(ranks: list[int], number: int) -> list[int]:
    """Places of the `number` smallest ranks."""
    places = list(range(len(ranks)))
    first, last = 0, len(places)
    while last - first > _SORTED_AT_ONCE:
        cut = _partition(places, ranks, first, last)
        if cut < number:
            first = cut
        else:
            last = cut
    places[first:last] = sorted(places[first:last], key=ranks.__getitem__)
    return places[:number]


def _partition(places: list[int], ranks: list[int], first: int, last: int) -> int:
    """Swap around the median of the second, the middle and the last place, which goes to the front; where it cuts."""
    three = (first + 1, first + (last - first) // 2, last - 1)
    median = _median([ranks[places[at]] for at in three])
    _swap(places, first, three[median])
    pivot = ranks[places[first]]
    up, down = first + 1, last - 1
    while True:
        while ranks[places[up]] < pivot:
            up += 1
        while ranks[places[down]] > pivot:
            down -= 1
        if up >= down:
            return up
        _swap(places, up, down)
        up, down = up + 1, down - 1


def _median(ranks: list[int]) -> int:
    """Which of three is the median; of equal ones as the comparisons fall."""
    low, middle, high = ranks
    if low < middle:
        return 1 if middle < high else 2 if low < high else 0
    return 0 if low < high else 2 if middle < high else 1


def _swap(places: list[int], one: int, other: int) -> None:
    places[one], places[other] = places[other], places[one]
