"""Mistakes that any function can have, made of the right function: what contracts use for their plain mutants.

Each takes the oracle (or its derivative) and returns a wrong one, called with keywords as mutants are.
"""

from __future__ import annotations

from collections.abc import Callable
from functools import wraps
from typing import Any

import numpy as np

from steelyard.conformance.contract import Array

Function = Callable[..., Any]  # an array, or a tuple of several

_CHUNK = 4096


def overwriting(function: Function, *names: str) -> Function:
    """It uses its inputs as scratch memory."""

    def mutant(**keywords: Any) -> Array:  # noqa: ANN401
        result = function(**keywords)
        for name in names:
            values = keywords[name]
            values[...] = np.where(values == 0, 1, 0)
        return result

    return mutant


def failing_on_empty(function: Function, name: str) -> Function:
    """It takes the maximum of an input, which an empty one does not have."""

    def mutant(**keywords: Any) -> Array:  # noqa: ANN401
        np.max(keywords[name])
        return function(**keywords)

    return mutant


def without(function: Function, name: str, like: str, stand_in: Callable[[int], Array]) -> Function:
    """It takes an argument that is left out for another array, as long as the argument `like`."""

    @wraps(function)
    def mutant(**keywords: Any) -> Array:  # noqa: ANN401
        return function(**{name: stand_in(len(keywords[like])), **keywords})

    return mutant


def without_mask(function: Function, name: str, like: str) -> Function:
    """It takes a mask that is left out for one of nothing, of the shape of the argument `like`."""

    @wraps(function)
    def mutant(**keywords: Any) -> Any:  # noqa: ANN401
        return function(**{name: np.zeros(np.shape(keywords[like]), dtype=bool), **keywords})

    return mutant


def none_of(number: int) -> Array:
    """A mask of nothing."""
    return np.zeros(number, dtype=bool)


def alternately(number: int) -> Array:
    """0, 1, 0, 1, ..."""
    return np.arange(number) % 2


def broadcasting(function: Function, name: str, like: str) -> Function:
    """It repeats the first element of an input where another has a different length."""

    def mutant(**keywords: Any) -> Array:  # noqa: ANN401
        values, length = np.asarray(keywords[name]), len(keywords[like])
        if len(values) != length:
            values = np.broadcast_to(values[:1], (length, *values.shape[1:]))
        return function(**{**keywords, name: values})

    return mutant


def images_along_one_axis(function: Function, name: str) -> Function:
    """Images along two axes taken for the first axis' own, with the candidates of all that it holds."""

    def mutant(**keywords: Any) -> Any:  # noqa: ANN401
        shape = np.shape(keywords[name])
        if len(shape) < 3:
            return function(**keywords)
        arrays = {n: _one_axis(values, len(shape)) for n, values in keywords.items() if np.ndim(values)}
        answer = function(**{**keywords, **arrays})
        if isinstance(answer, tuple):
            return tuple(np.reshape(output, shape) for output in answer)
        return np.reshape(answer, shape)

    return mutant


def _one_axis(values: Array, axes: int) -> Array:
    """(A, B, N, ...) as (A, B N, ...), and a number for each image, (A, B), summed over the second axis."""
    if values.ndim < axes:
        return np.asarray(values.sum(axis=1))
    return np.reshape(values, (values.shape[0], -1, *values.shape[axes:]))


def losing_the_tail(function: Function) -> Function:
    """It works through chunks and leaves out the last, incomplete one if there are others."""

    def mutant(**keywords: Any) -> Array:  # noqa: ANN401
        elements = np.asarray(function(**keywords))
        flat = elements.copy().ravel()
        whole = flat.size // _CHUNK * _CHUNK
        flat[whole or flat.size :] = 0.0
        return flat.reshape(elements.shape)

    return mutant


def with_default_for_zero(function: Function, option: str, default: float) -> Function:
    """An option of 0 is taken as not given."""

    def mutant(**keywords: Any) -> Array:  # noqa: ANN401
        return function(**{**keywords, option: default if keywords[option] == 0 else keywords[option]})

    return mutant


def unchecked(function: Function, **legal: Callable[[Any], Any]) -> Function:
    """It answers what is outside the specification, as if it were brought inside."""

    def mutant(**keywords: Any) -> Array:  # noqa: ANN401
        return function(**{**keywords, **{name: bring(keywords[name]) for name, bring in legal.items()}})

    return mutant


def cutting(function: Function, name: str, size: float) -> Function:
    """It clamps an input to [-size, size]; NaN and infinities pass."""

    def mutant(**keywords: Any) -> Array:  # noqa: ANN401
        values = np.asarray(keywords[name])
        return function(**{**keywords, name: np.where(np.isfinite(values), np.clip(values, -size, size), values)})

    return mutant


def replacing_nan(function: Function) -> Function:
    """NaN replaced by 0: a broken network looks trained."""

    def mutant(**keywords: Any) -> Array:  # noqa: ANN401
        return np.nan_to_num(function(**keywords), nan=0.0, posinf=np.inf, neginf=-np.inf)

    return mutant


def refusing_half(function: Function, name: str) -> Function:
    """It has no half precision, as the CPU kernels of a framework sometimes have none."""

    def mutant(**keywords: Any) -> Array:  # noqa: ANN401
        if np.asarray(keywords[name]).dtype == np.float16:
            raise TypeError("not implemented for Half")
        return function(**keywords)

    return mutant


def at_least_0(value: Any) -> Any:  # noqa: ANN401
    """A number brought to >= 0; None stays."""
    return value if value is None else max(value, 0.0)
