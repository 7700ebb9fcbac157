"""Inputs and mutants that the contracts of hard sampling share: labels, losses that are apart, one image at a time."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np

from steelyard.conformance.contract import Array, Case
from steelyard.conformance.generation import Draw

FULL = ("float32", "float64")
CLASSES = 3

Masks = tuple[Array, Array]
Function = Callable[..., Any]


def draw_labels(draw: Draw, shape: tuple[int, ...], *, ignored: bool = True) -> Array:
    """Background mostly, some of each class, some ignored."""
    choices = (CLASSES, CLASSES, 0, CLASSES, 1, 2, -1) if ignored else (CLASSES, CLASSES, 0, CLASSES, 1, 2)
    return draw.array(shape, lambda: float(draw.choice(choices))).astype(np.int64)


def distinct_ranks(draw: Draw, shape: tuple[int, ...]) -> Array:
    """The numbers 0, 1, ... of each row in a drawn order."""
    return np.argsort(draw.array(shape, draw.fraction), axis=-1, kind="stable").astype(np.float64)


def draw_shape(draw: Draw) -> tuple[int, int]:
    """One to three images of up to twelve candidates."""
    return draw.integer(1, 3), draw.integer(1, 12)


def reversed_candidates(case: Case) -> Case:
    """Candidates in reverse, with all that belongs to them; boxes and logits have an axis more."""
    lengths = case.arguments["labels"].ndim
    return case.with_arguments(
        **{name: np.flip(values, axis=lengths - 1).copy() for name, values in case.arguments.items()}
    )


def in_reverse(output: Array, case: Case) -> Array:
    """An output of reversed candidates, in their first order."""
    return output[..., ::-1] if output.ndim else output


def by_image(choose: Callable[..., Masks], right: Function) -> Function:
    """A choice made image by image, of losses and labels, after the specification's checks."""

    def function(losses: Array, labels: Array, **options: Any) -> Masks:  # noqa: ANN401
        right(losses, labels, **options)
        first, second = np.zeros(np.shape(labels), bool), np.zeros(np.shape(labels), bool)
        for b in np.ndindex(np.shape(labels)[:-1]):
            first[b], second[b] = choose(np.asarray(losses, dtype=np.float64)[b], np.asarray(labels)[b], **options)
        return first, second

    return function


def largest(group: Array, losses: Array, number: int) -> Array:
    """The members of a group with the largest losses, of equal ones the first."""
    members = np.flatnonzero(group)
    chosen = np.zeros(group.shape, bool)
    chosen[members[np.argsort(-losses[members], kind="stable")[: max(number, 0)]]] = True
    return chosen


def only_the_first(function: Function, name: str, number: int) -> Function:
    """Candidates beyond the first `number` of an image count as ignored."""

    def mutant(**keywords: Any) -> Any:  # noqa: ANN401
        labels = np.asarray(keywords[name])
        return function(**{**keywords, name: np.where(np.arange(labels.shape[-1]) < number, labels, -1)})

    return mutant


def whole_batch(function: Function) -> Function:
    """All images as one: the candidates' axes flattened, and the answer given back its shape."""

    def mutant(losses: Array, labels: Array, **options: Any) -> Masks:  # noqa: ANN401
        first, second = function(np.ravel(losses), np.ravel(labels), **options)
        return first.reshape(np.shape(labels)), second.reshape(np.shape(labels))

    return mutant
