"""Known mistakes of compositing."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np

from steelyard.conformance import plain_mistakes as mistakes
from steelyard.conformance.contract import Array, Mutant
from steelyard.reference.generative import compositing as oracle

Function = Callable[..., Any]
Places = Callable[[Array, Array, Array], tuple[Array, Array]]
"""Of pixels (u, v) of the background by the map, in the object: x and y."""
_RIGHT = oracle.composite


def _there(theta: Array, u: Array, v: Array) -> tuple[Array, Array]:
    x, y = (row[0] * u + row[1] * v + row[2] for row in theta)
    return x, y


def _back(theta: Array, u: Array, v: Array) -> tuple[Array, Array]:
    matrix = np.vstack([theta, [0.0, 0.0, 1.0]])
    return _there(np.linalg.pinv(matrix)[:2], u, v)


def _at_corners(theta: Array, u: Array, v: Array) -> tuple[Array, Array]:
    x, y = _there(theta, u - 0.5, v - 0.5)
    return x + 0.5, y + 0.5


def _exchanged(theta: Array, u: Array, v: Array) -> tuple[Array, Array]:
    x, y = _there(theta, v, u)
    return y, x


def _linear(place: Array, size: int) -> Array:
    return np.asarray(np.maximum(0.0, 1.0 - np.abs(place[..., None] - (np.arange(size) + 0.5))))


def _nearest(place: Array, size: int) -> Array:
    return np.asarray(np.floor(place)[..., None] == np.arange(size)).astype(np.float64)


def _with_the_edge(place: Array, size: int) -> Array:
    return _linear(np.clip(place, 0.5, size - 0.5), size)


def _box(seen: Array) -> list[int]:
    rows, columns = np.nonzero(seen)
    return [columns.min(), rows.min(), columns.max() + 1, rows.max() + 1] if rows.size else [0, 0, 0, 0]


def _inclusive(seen: Array) -> list[int]:
    rows, columns = np.nonzero(seen)
    return [columns.min(), rows.min(), columns.max(), rows.max()] if rows.size else [0, 0, 0, 0]


def _rows_first(seen: Array) -> list[int]:
    x1, y1, x2, y2 = _box(seen)
    return [y1, x1, y2, x2]


def _whole(seen: Array) -> list[int]:
    return [0, 0, seen.shape[1], seen.shape[0]]


def _blending(
    *,
    places: Places = _there,
    reading: Callable[[Array, int], Array] = _linear,
    blend: Callable[[Array, Array, Array, Array], Array] = lambda a, f, _, b: a * f + (1 - a) * b,
    box_of: Callable[[Array], list[int]] = _box,
    first_map: bool = False,
    seen: Callable[[Array, float], Array] = lambda opacity, threshold: opacity > threshold,
) -> Function:
    """The blend with one step exchanged; `blend` gets opacity, colour, their product as read, background."""

    def mutant(foreground: Array, alpha: Array, background: Array, theta: Array, *, threshold: float) -> Any:  # noqa: ANN401
        image, box = _RIGHT(foreground, alpha, background, theta, threshold=threshold)
        f, a, b, maps = (np.asarray(x, dtype=np.float64) for x in (foreground, alpha, background, theta))
        v, u = np.mgrid[: b.shape[2], : b.shape[3]] + 0.5
        for i in range(len(b)):
            x, y = places(maps[0 if first_map else i], u, v)
            weights = np.einsum("hwy,hwx->hwyx", reading(y, a.shape[1]), reading(x, a.shape[2]))
            colour, product = (np.tensordot(c, weights, axes=([1, 2], [2, 3])) for c in (f[i], f[i] * a[i]))
            opacity = np.tensordot(weights, a[i], axes=([2, 3], [0, 1]))
            image[i] = blend(opacity, colour, product, b[i])
            box[i] = box_of(seen(opacity, threshold))
        return image, box

    return mutant


def _grad_without_opacity(**keywords: Any) -> Array:  # noqa: ANN401
    """The derivative by the colours as if the object were opaque."""
    return oracle.composite_grad_foreground(**{**keywords, "alpha": np.ones_like(keywords["alpha"])})


MUTANTS = (
    Mutant("composite/premultiplied-twice", "colours weighed by the opacity twice", _blending(
        blend=lambda a, _, product, b: a * product + (1 - a) * b)),
    Mutant("composite/premultiplied", "colours weighed by the opacity before they are read", _blending(
        blend=lambda a, _, product, b: product + (1 - a) * b)),
    Mutant("composite/added", "the object added, the background kept", _blending(blend=lambda a, f, _, b: a * f + b)),
    Mutant("composite/pasted", "the object pasted where it has any opacity", _blending(
        blend=lambda a, f, _, b: np.where(a > 0, f, b))),
    Mutant("composite/upside-down", "the opacity of the background", _blending(
        blend=lambda a, f, _, b: (1 - a) * f + a * b)),
    Mutant("composite/inverse", "the map taken from the object to the background", _blending(places=_back)),
    Mutant("composite/corners", "pixels with their middles at whole numbers", _blending(places=_at_corners)),
    Mutant("composite/exchanged", "x and y exchanged", _blending(places=_exchanged)),
    Mutant("composite/nearest", "the nearest pixel in place of the four around", _blending(reading=_nearest)),
    Mutant("composite/edge", "the edge repeated outside of the object", _blending(reading=_with_the_edge)),
    Mutant("composite/first-map", "the first map for all", _blending(first_map=True)),
    Mutant("composite/inclusive-box", "a box whose last pixels are inside", _blending(box_of=_inclusive)),
    Mutant("composite/rows-first", "a box with rows before columns", _blending(box_of=_rows_first)),
    Mutant("composite/whole-box", "a box around the background", _blending(box_of=_whole)),
    Mutant("composite/any-opacity", "a box around every trace of the object", _blending(
        seen=lambda opacity, _: opacity > 0.0)),
    Mutant("composite/at-the-threshold", "a box around opacities equal to the threshold; else the same", _blending(
        seen=lambda opacity, threshold: opacity >= threshold)),
    Mutant("composite/opaque-gradient", "the derivative of an opaque object", _RIGHT, _grad_without_opacity),
    Mutant("composite/in-place", "its inputs overwritten", mistakes.overwriting(_RIGHT, "background")),
    Mutant("composite/broadcast", "opacities repeated for another number of objects",
           mistakes.broadcasting(_RIGHT, "alpha", "foreground")),
    Mutant("composite/unchecked", "no check of its options", mistakes.unchecked(
        _RIGHT, threshold=lambda number: min(number, 1.0))),
    Mutant("composite/raises-on-empty", "an error where there is no object", mistakes.failing_on_empty(
        _RIGHT, "foreground")),
)  # fmt: skip
