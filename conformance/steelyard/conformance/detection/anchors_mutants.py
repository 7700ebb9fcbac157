"""Wrong anchors: the mistakes of real detectors, and plain ones."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np

from steelyard.conformance import plain_mistakes as mistakes
from steelyard.conformance.contract import Array, Mutant
from steelyard.conformance.detection.box_inputs import broadcasting_sides
from steelyard.reference.detection import anchors as oracle

_CELL: Callable[..., Any] = oracle.cell_anchors
_GRID: Callable[..., Any] = oracle.grid_anchors
_POINTS: Callable[..., Any] = oracle.grid_points
_INSIDE: Callable[..., Any] = oracle.inside_image
_X, _Y = np.array([1.0, 0.0, 1.0, 0.0]), np.array([0.0, 1.0, 0.0, 1.0])


def _refused(function: Callable[..., Any], change: Callable[..., Array]) -> Callable[..., Array]:
    """The specification's checks, then a wrong formula."""

    def mutant(**keywords: Any) -> Array:  # noqa: ANN401
        function(**keywords)
        return np.asarray(change(**keywords))

    return mutant


def _anchors(width: Array, height: Array) -> Array:
    return np.stack([-width / 2, -height / 2, width / 2, height / 2], axis=-1).reshape(-1, 4)


def ratio_first(sizes: Array, ratios: Array) -> Array:
    return np.asarray(_CELL(sizes, ratios)).reshape(len(sizes), len(ratios), 4).swapaxes(0, 1).reshape(-1, 4)


def only_the_height(sizes: Array, ratios: Array) -> Array:
    size = np.asarray(sizes, dtype=np.float64)[:, None]
    return _anchors(size * np.ones_like(ratios, dtype=np.float64), size * np.asarray(ratios, dtype=np.float64))


def without_root(sizes: Array, ratios: Array) -> Array:
    size, ratio = np.asarray(sizes, dtype=np.float64)[:, None], np.asarray(ratios, dtype=np.float64)
    return _anchors(size / ratio, size * ratio)


def from_the_corner(sizes: Array, ratios: Array) -> Array:
    anchors = _CELL(sizes, ratios)
    return np.asarray(anchors - anchors[:, [0, 1, 0, 1]])


def _on_grid(order: Callable[[Array, Array, Array], Array]) -> Callable[..., Array]:
    """A grid of which `order` puts shifts in x, shifts in y and anchors together, shapes (rows, columns, A, 4)."""

    def mutant(cell: Array, *, feature_height: int, feature_width: int, stride: float, offset: float) -> Array:
        y = ((np.arange(feature_height) + offset) * stride)[:, None, None, None]
        x = ((np.arange(feature_width) + offset) * stride)[None, :, None, None]
        return order(x, y, np.asarray(cell, dtype=np.float64)[None, None]).reshape(-1, 4)

    return _refused(_GRID, mutant)


def _options_changed(function: Callable[..., Any], **change: Callable[[Any], Any]) -> Callable[..., Any]:
    """The right function at other options, whose own checks stand."""

    def mutant(**keywords: Any) -> Any:  # noqa: ANN401
        function(**keywords)
        return function(**{**keywords, **{name: new(keywords[name]) for name, new in change.items()}})

    return mutant


def legacy_offset(function: Callable[..., Any]) -> Callable[..., Any]:
    """The offset as a share of the stride less one pixel."""

    def mutant(**keywords: Any) -> Array:  # noqa: ANN401
        return np.asarray(function(**keywords)) - keywords["offset"]

    return mutant


def whole_offset(**keywords: Any) -> Array:  # noqa: ANN401
    shift = keywords["offset"] * keywords["stride"]
    return np.asarray(_POINTS(**keywords)) - (shift - np.floor(shift))


def _columns_first(**keywords: Any) -> Array:  # noqa: ANN401
    rows, columns = keywords["feature_height"], keywords["feature_width"]
    return np.asarray(_POINTS(**keywords)).reshape(rows, columns, 2).swapaxes(0, 1).reshape(-1, 2)


def _inside(test: Callable[[Array, Array, Array, float], Array]) -> Callable[..., Array]:
    def mutant(boxes: Array, image_size: Array, *, border: float) -> Array:
        box = np.asarray(boxes, dtype=np.float64)
        size = np.asarray(image_size, dtype=np.float64)[::-1]
        return np.asarray(test(box[:, :2], box[:, 2:], size, border).all(axis=1))

    return _refused(_INSIDE, mutant)


def _legal(low: float, high: float) -> Callable[[Any], Any]:
    return lambda number: min(max(number, low), high)


CELL_MUTANTS = (
    Mutant("cell/rounded", "sides rounded to whole pixels on either side of the centre", _refused(
        _CELL, lambda **k: np.round(_CELL(**k))), seen_in="torchvision's AnchorGenerator"),
    Mutant("cell/width-by-height", "the ratio read as width by height", _refused(
        _CELL, lambda sizes, ratios: _CELL(sizes, 1.0 / np.asarray(ratios, dtype=np.float64)))),
    Mutant("cell/ratio-first", "all sizes of a ratio together", _refused(_CELL, ratio_first),
           seen_in="torchvision; mmdet, whose scale_major=True it is (there re-indexing is enough)"),
    Mutant("cell/only-the-height", "the width the same for every ratio", _refused(_CELL, only_the_height)),
    Mutant("cell/without-root", "the ratio in place of its root", _refused(_CELL, without_root)),
    Mutant("cell/from-the-corner", "anchors that begin at the origin", _refused(_CELL, from_the_corner)),
    Mutant("cell/plus-one", "one pixel more in width and height", _refused(
        _CELL, lambda **k: _CELL(**k) + np.array([-0.5, -0.5, 0.5, 0.5]))),
    Mutant("cell/refuses-half", "an error in half precision", mistakes.refusing_half(_CELL, "sizes")),
    Mutant("cell/in-place", "its sizes overwritten", mistakes.overwriting(_CELL, "sizes")),
    Mutant("cell/raises-on-empty", "an error where there is no size or no ratio",
           mistakes.failing_on_empty(mistakes.failing_on_empty(_CELL, "sizes"), "ratios")),
    Mutant("cell/unchecked", "sizes and ratios of any shape",
           mistakes.unchecked(_CELL, sizes=np.ravel, ratios=np.ravel)),
)  # fmt: skip

GRID_MUTANTS = (
    Mutant("grid/columns-first", "column by column", _on_grid(
        lambda x, y, anchors: (anchors + x * _X + y * _Y).swapaxes(0, 1))),
    Mutant("grid/anchor-slowest", "the whole grid of the first anchor first", _on_grid(
        lambda x, y, anchors: np.moveaxis(anchors + x * _X + y * _Y, 2, 0))),
    Mutant("grid/exchanged", "rows counted in x and columns in y", _on_grid(
        lambda x, y, anchors: anchors + x * _Y + y * _X)),
    Mutant("grid/no-offset", "no offset, whatever is asked for", _options_changed(_GRID, offset=lambda _: 0.0)),
    Mutant("grid/middle", "centres in the middle of the cell", _options_changed(_GRID, offset=lambda _: 0.5),
           seen_in="detectron2's class default, where its configurations have 0"),
    Mutant("grid/legacy-offset", "the offset as a share of the stride less one pixel", legacy_offset(_GRID),
           seen_in="mmdet's LegacyAnchorGenerator"),
    Mutant("grid/refuses-half", "an error in half precision", mistakes.refusing_half(_GRID, "cell")),
    Mutant("grid/lost-tail", "the last anchors of a large grid left out", mistakes.losing_the_tail(_GRID)),
    Mutant("grid/in-place", "its input overwritten", mistakes.overwriting(_GRID, "cell")),
    Mutant("grid/raises-on-empty", "an error where there is no anchor in a cell",
           mistakes.failing_on_empty(_GRID, "cell")),
    Mutant("grid/unchecked-shape", "anchors of three numbers, the last of them both sides",
           mistakes.unchecked(_GRID, cell=broadcasting_sides)),
    Mutant("grid/unchecked", "no check of its options", mistakes.unchecked(
        _GRID, stride=_legal(1e-9, np.inf), feature_height=_legal(0, 10**6), offset=_legal(0.0, 1.0))),
)  # fmt: skip

POINT_MUTANTS = (
    Mutant("points/columns-first", "column by column", _refused(_POINTS, _columns_first)),
    Mutant("points/exchanged", "y before x", _refused(_POINTS, lambda **k: _POINTS(**k)[:, ::-1])),
    Mutant("points/corner", "the upper left corner of the cell", _options_changed(_POINTS, offset=lambda _: 0.0)),
    Mutant("points/whole", "the offset cut to whole pixels", whole_offset, seen_in="FCOS, stride // 2"),
    Mutant("points/indices", "indices in place of pixels", _options_changed(_POINTS, stride=lambda _: 1.0)),
    Mutant("points/raises-on-empty", "an error where there is no point", _refused(
        _POINTS, lambda **k: _POINTS(**k) + 0.0 * _POINTS(**k).max())),
    Mutant("points/unchecked", "no check of its options", mistakes.unchecked(
        _POINTS, stride=_legal(1e-9, np.inf), feature_height=_legal(0, 10**6), offset=_legal(0.0, 1.0))),
)  # fmt: skip

INSIDE_MUTANTS = (
    Mutant("inside/below-the-border", "a box that ends on the right or lower border outside", _inside(
        lambda low, high, size, border: (low >= -border) & (high < size + border)),
        seen_in="mmdet's anchor_inside_flags, py-faster-rcnn (there the last pixel is meant)"),
    Mutant("inside/above-zero", "a box that begins on the left or upper border outside", _inside(
        lambda low, high, size, border: (low > -border) & (high <= size + border))),
    Mutant("inside/any-part", "every box that overlaps the image inside", _inside(
        lambda low, high, size, border: (high >= -border) & (low <= size + border))),
    Mutant("inside/centre", "every box whose centre is in the image inside", _inside(
        lambda low, high, size, border: (low + high >= -2 * border) & (low + high <= 2 * (size + border)))),
    Mutant("inside/exchanged", "width and height exchanged", _inside(
        lambda low, high, size, border: (low >= -border) & (high <= size[::-1] + border))),
    Mutant("inside/no-border", "no border, whatever is asked for", _options_changed(
        _INSIDE, border=lambda _: 0.0)),
    Mutant("inside/border-below-only", "the border at the right and below only", _inside(
        lambda low, high, size, border: (low >= 0) & (high <= size + border))),
    Mutant("inside/lost-tail", "the last boxes of a large input outside", mistakes.losing_the_tail(_INSIDE)),
    Mutant("inside/refuses-half", "an error in half precision", mistakes.refusing_half(_INSIDE, "boxes")),
    Mutant("inside/in-place", "its boxes overwritten", mistakes.overwriting(_INSIDE, "boxes")),
    Mutant("inside/raises-on-empty", "an error where there is no box",
           mistakes.failing_on_empty(_INSIDE, "boxes")),
    Mutant("inside/unchecked", "no check of the border", mistakes.unchecked(
        _INSIDE, border=mistakes.at_least_0)),
)  # fmt: skip
