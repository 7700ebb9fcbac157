"""Known mistakes of class-aware sampling."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

import numpy as np

from steelyard.conformance import plain_mistakes as mistakes
from steelyard.conformance.contract import Array, Mutant
from steelyard.reference.foreground_balance import class_aware_sampling as oracle

Function = Callable[..., Any]
_RIGHT = oracle.class_aware_order
Turns = Callable[[Array, int, list[list[int]]], Sequence[int]]
"""Class keys, number of the pass, images of each class -> classes of that pass."""
Stream = Callable[[list[int], Array, int], list[int]]
"""Images of a class, its keys, how many are wanted -> images in the order in which they are drawn."""


def _right_turns(class_keys: Array, number: int, images: list[list[int]]) -> list[int]:
    return sorted((c for c in range(len(images)) if images[c]), key=lambda c: float(class_keys[number, c]))


def _right_stream(images: list[int], keys: Array, wanted: int) -> list[int]:
    drawn: list[int] = []
    while images and len(drawn) < wanted:
        cycle = keys[len(drawn) : len(drawn) + len(images)]
        drawn += [images[i] for i in np.argsort(cycle, kind="stable")]
    return drawn


def _listed_once(labels: Array, c: int) -> list[int]:
    return [int(i) for i in np.flatnonzero((labels == c).any(axis=1))]


def _order(
    *, turns: Turns = _right_turns, stream: Stream = _right_stream, of_class: Callable[[Array, int], Any] = _listed_once
) -> Function:
    """The oracle's plan with one part of it exchanged."""

    def mutant(labels: Array, class_keys: Array, image_keys: Array, *, num_classes: int, images_per_class: int,
               epoch_length: int | None) -> Array:  # fmt: skip
        _RIGHT(labels, class_keys, image_keys, num_classes=num_classes, images_per_class=images_per_class,
               epoch_length=epoch_length)  # fmt: skip
        wanted, begin = len(class_keys) * images_per_class, 0
        images = [list(of_class(np.asarray(labels), c)) for c in range(num_classes)]
        streams = []
        for c in range(num_classes):
            own = wanted + len(_listed_once(np.asarray(labels), c))
            keys = np.resize(np.asarray(image_keys)[begin : begin + own], wanted + 2 * len(images[c]))
            streams.append(stream(images[c], keys, wanted))
            begin += own
        order: list[int] = []
        used = [0] * num_classes
        for number in range(len(class_keys)):
            for c in turns(np.asarray(class_keys), number, images):
                for _ in range(images_per_class):
                    order.append(streams[c][used[c] % len(streams[c])])
                    used[c] += 1
        return np.array(order[: len(labels) if epoch_length is None else epoch_length], dtype=np.int64)

    return mutant


def _last_of_equal(class_keys: Array, number: int, images: list[list[int]]) -> list[int]:
    return sorted((c for c in range(len(images)) if images[c]), key=lambda c: (float(class_keys[number, c]), -c))


def _independent_classes(class_keys: Array, number: int, images: list[list[int]]) -> list[int]:
    present = [c for c in range(len(images)) if images[c]]
    return [present[int(class_keys[number, c] * len(present))] for c in present]


def _by_size(class_keys: Array, number: int, images: list[list[int]]) -> list[int]:
    everyone = [c for c in range(len(images)) for _ in images[c]]
    return [everyone[int(class_keys[number, c] * len(everyone))] for c in range(len(images)) if images[c]]


def _restarted(images: list[int], keys: Array, wanted: int) -> list[int]:
    return [_right_stream(images, keys[n:], 1)[0] for n in range(wanted)] if images else []


def _without_replacement_only_once(images: list[int], keys: Array, wanted: int) -> list[int]:
    cycle = _right_stream(images, keys, len(images))
    return [cycle[n % len(cycle)] for n in range(wanted)] if images else []


def _slots(labels: Array, c: int) -> list[int]:
    return [int(i) for i in np.flatnonzero(labels == c) // max(labels.shape[1], 1)]


def _first_objects(labels: Array, c: int) -> list[int]:
    return _listed_once(labels[:, :6], c)


def _images_in_turn(labels: Array, class_keys: Array, image_keys: Array, **options: Any) -> Array:  # noqa: ANN401
    right = _RIGHT(labels, class_keys, image_keys, **options)
    return np.arange(len(right)) % max(len(labels), 1)


def _one_image_a_class(
    labels: Array,
    class_keys: Array,
    image_keys: Array,
    *,
    images_per_class: int,
    **options: Any,  # noqa: ANN401
) -> Array:
    right = np.asarray(_RIGHT(labels, class_keys, image_keys, images_per_class=images_per_class, **options))
    return right if images_per_class == 1 else np.repeat(right[::images_per_class], images_per_class)[: len(right)]


def _own_keys(power: float, *, fixed: bool) -> Function:
    """Random numbers of its own, of which small ones are more frequent; or the same in all passes and cycles."""

    def mutant(labels: Array, *, num_classes: int, images_per_class: int, epoch_length: int) -> Array:
        random = np.random.default_rng(int(epoch_length))
        present = max(len(np.unique(labels[labels >= 0])), 1)
        passes = -(-epoch_length // (present * images_per_class))
        class_keys = random.random((passes, num_classes)) ** (1.0 + power * np.arange(num_classes))
        image_keys = random.random(num_classes * passes * images_per_class + labels.size)
        class_keys = class_keys[:1].repeat(passes, axis=0) if fixed else class_keys
        options = {"num_classes": num_classes, "images_per_class": images_per_class, "epoch_length": epoch_length}
        return np.asarray(_RIGHT(labels, class_keys, image_keys, **options))

    return mutant


def _whole_passes(labels: Array, class_keys: Array, image_keys: Array, **options: Any) -> Array:  # noqa: ANN401
    _RIGHT(labels, class_keys, image_keys, **options)
    full = len(class_keys) * len(np.unique(labels[labels >= 0])) * options["images_per_class"]
    return np.asarray(_RIGHT(labels, class_keys, image_keys, **{**options, "epoch_length": full}))


def _any_keys(labels: Array, class_keys: Array, image_keys: Array, **options: Any) -> Array:  # noqa: ANN401
    number = options["num_classes"] * len(class_keys) * options["images_per_class"] + np.size(labels)
    return np.asarray(_RIGHT(np.atleast_2d(labels), class_keys, np.resize(image_keys, number), **options))


_UNCHECKED = {"images_per_class": lambda n: max(n, 1), "epoch_length": mistakes.at_least_0}

MUTANTS = (
    Mutant("class-aware/independent-classes", "classes drawn with replacement", _order(turns=_independent_classes)),
    Mutant("class-aware/by-size", "classes drawn as often as they have images", _order(turns=_by_size)),
    Mutant("class-aware/classes-in-order", "the classes of every pass in the order of their names", _order(
        turns=lambda _keys, _number, images: [c for c in range(len(images)) if images[c]])),
    Mutant("class-aware/one-order-of-classes", "the order of the first pass in all of them", _order(
        turns=lambda keys, _number, images: _right_turns(keys, 0, images))),
    Mutant("class-aware/descending", "classes by falling keys: the same law, other keys", _order(
        turns=lambda keys, number, images: _right_turns(1.0 - keys, number, images))),
    Mutant("class-aware/restarted", "the list of a class shuffled anew for every image drawn", _order(
        stream=_restarted)),
    Mutant("class-aware/one-order-of-images", "the first cycle of a class again and again", _order(
        stream=_without_replacement_only_once)),
    Mutant("class-aware/last-of-equal-keys", "of equal keys the last first", _order(turns=_last_of_equal)),
    Mutant("class-aware/objects", "an image in the list of a class once an object", _order(of_class=_slots)),
    Mutant("class-aware/six-objects", "objects beyond the sixth of an image left out", _order(
        of_class=_first_objects)),
    Mutant("class-aware/all-images-in-turn", "the images in turn, also those without objects", _images_in_turn),
    Mutant("class-aware/one-image-a-class", "the same image for all places of a class in a pass", _one_image_a_class),
    Mutant("class-aware/biased", "keys of its own by which the last classes come first", _own_keys(0.5, fixed=False),
           draws_own_keys=True),
    Mutant("class-aware/fixed", "keys of its own, the same in all passes", _own_keys(0.0, fixed=True),
           draws_own_keys=True),
    Mutant("class-aware/all-places", "the whole of the last pass", _whole_passes),
    Mutant("class-aware/in-place", "the labels overwritten", mistakes.overwriting(_RIGHT, "labels")),
    Mutant("class-aware/raises-on-empty", "an error where there is no image",
           mistakes.failing_on_empty(_RIGHT, "labels")),
    Mutant("class-aware/any-keys", "keys of another number stretched or cut", _any_keys),
    Mutant("class-aware/unchecked", "no check of its options", mistakes.unchecked(_RIGHT, **_UNCHECKED)),
)  # fmt: skip
