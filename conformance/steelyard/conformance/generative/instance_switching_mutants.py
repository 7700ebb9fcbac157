"""Known mistakes of instance switching."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np

from steelyard.conformance import plain_mistakes as mistakes
from steelyard.conformance.contract import Array, Mutant
from steelyard.reference.generative import instance_switching as oracle

Function = Callable[..., Any]
_RIGHT_ELIGIBILITY = oracle.switch_eligibility
_RIGHT_SWITCH = oracle.switch_instances


# --- which pairs ----------------------------------------------------------------------------------------------


def _crop(array: Array, box: Array) -> Array:
    x1, y1, x2, y2 = box
    return array[..., y1:y2, x1:x2]


def _indices(old: int, new: int) -> Array:
    return (2 * np.arange(new) + 1) * old // (2 * new)


def _resized(mask: Array, height: int, width: int) -> Array:
    return mask[np.ix_(_indices(mask.shape[0], height), _indices(mask.shape[1], width))]


def _at_the_corner(mask: Array, height: int, width: int) -> Array:
    return mask[np.ix_(np.arange(height) * mask.shape[0] // height, np.arange(width) * mask.shape[1] // width)]


def _not_resized(mask: Array, height: int, width: int) -> Array:
    kept = np.zeros((height, width), dtype=bool)
    part = mask[:height, :width]
    kept[: part.shape[0], : part.shape[1]] = part
    return kept


def _judging(
    *,
    resize: Callable[[Array, int, int], Array] = _resized,
    similar: Callable[[int, int, int, float], bool] = lambda d, own, other, limit: (
        d / own <= limit and d / other <= limit and d > 0
    ),
    sizes: Callable[[float, float, float], bool] = lambda ratio, low, high: low <= ratio <= high,
    ratio_of: Callable[[Array, Array, Array, Array], float] | None = None,
    apart: bool = True,
    alike: bool = True,
    crowds: bool = False,
    own_size: bool = False,
) -> Function:
    """The rule with one of its parts exchanged."""

    def mutant(  # noqa: PLR0913 - the oracle's arguments
        masks: Array, boxes: Array, labels: Array, image_index: Array, crowd: Array, pairs: Array, *,
        min_size_ratio: float, max_size_ratio: float, max_difference: float,
    ) -> Array:  # fmt: skip
        _RIGHT_ELIGIBILITY(masks, boxes, labels, image_index, crowd, pairs, min_size_ratio=min_size_ratio,
                           max_size_ratio=max_size_ratio, max_difference=max_difference)  # fmt: skip
        answers = []
        for first, second in pairs:
            own, other = (_crop(masks[n].astype(bool), boxes[n]) for n in (first, second))
            possible = all((
                own.any(), other.size,
                not apart or image_index[first] != image_index[second],
                not alike or labels[first] == labels[second],
                crowds or not (crowd[first] or crowd[second]),
            ))  # fmt: skip
            if possible:
                brought = resize(other, *own.shape)
                pixels = other.sum() if own_size else brought.sum()
                ratio = own.size / other.size if ratio_of is None else ratio_of(own, other, boxes[first], boxes[second])
                possible = bool(
                    brought.any()
                    and sizes(ratio, min_size_ratio, max_size_ratio)
                    and similar(int((own != brought).sum()), int(own.sum()), int(pixels), max_difference)
                )
            answers.append(possible)
        return np.array(answers, dtype=bool)

    return mutant


def _with_empty(**keywords: Any) -> Array:  # noqa: ANN401
    """Objects without a pixel count as alike, where all else fits."""
    right = _RIGHT_ELIGIBILITY(**keywords)
    first, second = (keywords["pairs"][:, side] for side in (0, 1))
    filled = [bool(_crop(mask, box).any()) for mask, box in zip(keywords["masks"], keywords["boxes"], strict=True)]
    empty = ~np.array(filled, dtype=bool)
    return right | empty[first] | empty[second]


ELIGIBILITY_MUTANTS = (
    Mutant("switch-eligibility/one-bound", "no lower bound of the sizes", _judging(sizes=lambda r, _, high: r <= high)),
    Mutant("switch-eligibility/no-size", "no bound of the sizes", _judging(sizes=lambda *_: True)),
    Mutant("switch-eligibility/symmetric", "the smaller over the larger box against the lower bound alone", _judging(
        sizes=lambda r, low, _: min(r, 1 / r) >= low)),
    Mutant("switch-eligibility/second-over-first", "the quotient of the sizes upside down", _judging(
        sizes=lambda r, low, high: low <= 1 / r <= high)),
    Mutant("switch-eligibility/area-of-masks", "sizes by the masks in place of the boxes", _judging(
        ratio_of=lambda own, other, *_: own.sum() / max(other.sum(), 1))),
    Mutant("switch-eligibility/not-resized", "masks compared at two sizes, from the corner", _judging(
        resize=_not_resized)),
    Mutant("switch-eligibility/corner", "the new pixel's corner in place of its middle", _judging(
        resize=_at_the_corner)),
    Mutant("switch-eligibility/own-size", "the second mask's pixels counted before it changes its size", _judging(
        own_size=True)),
    Mutant("switch-eligibility/first-mask-only", "the share of the first mask alone", _judging(
        similar=lambda d, own, _, limit: d / own <= limit and d > 0)),
    Mutant("switch-eligibility/strict", "shares below the bound only", _judging(
        similar=lambda d, own, other, limit: d / own < limit and d / other < limit and d > 0)),
    Mutant("switch-eligibility/strict-sizes", "sizes inside of the bounds only", _judging(
        sizes=lambda r, low, high: low < r < high)),
    Mutant("switch-eligibility/equal-too", "equal masks, which may be copies of one object, switched", _judging(
        similar=lambda d, own, other, limit: d / own <= limit and d / other <= limit)),
    Mutant("switch-eligibility/squares", "differences of 255 squared", _judging(
        similar=lambda d, own, other, limit: 255**2 * d / min(own, other) <= limit and d > 0)),
    Mutant("switch-eligibility/same-image", "pairs of one image, too", _judging(apart=False)),
    Mutant("switch-eligibility/any-class", "pairs of two classes, too", _judging(alike=False)),
    Mutant("switch-eligibility/crowds", "crowds, too", _judging(crowds=True),
           seen_in="Hwang64/PSIS, which asks another annotation for its crowd flag"),
    Mutant("switch-eligibility/empty-too", "objects without a pixel, too", _with_empty),
    Mutant("switch-eligibility/in-place", "its inputs overwritten", mistakes.overwriting(_RIGHT_ELIGIBILITY, "masks")),
    Mutant("switch-eligibility/broadcast", "labels repeated for another number of objects",
           mistakes.broadcasting(_RIGHT_ELIGIBILITY, "labels", "boxes")),
    Mutant("switch-eligibility/unchecked", "no check of its options", mistakes.unchecked(
        _RIGHT_ELIGIBILITY, max_difference=lambda share: min(share, 1.0))),
    Mutant("switch-eligibility/raises-on-empty", "an error where there is no pair",
           mistakes.failing_on_empty(_RIGHT_ELIGIBILITY, "pairs")),
)  # fmt: skip


# --- images ---------------------------------------------------------------------------------------------------

_SIDE = float(np.exp(-1.0 / 8.0))
_GAUSSIAN = np.array([_SIDE, 1.0, _SIDE]) / (1.0 + 2.0 * _SIDE)


def _smoothed(mask: Array, *, mode: str = "mirror", weights: Array = _GAUSSIAN) -> Array:
    result = mask.astype(np.float64)
    for axis in (0, 1):
        if mode == "mirror" and result.shape[axis] == 1:
            continue
        border = [(1, 1) if a == axis else (0, 0) for a in (0, 1)]
        padded = np.pad(result, border, mode={"mirror": "reflect", "zero": "constant", "edge": "edge"}[mode])  # type: ignore[call-overload]
        size = result.shape[axis]
        result = sum(w * padded.take(range(i, i + size), axis=axis) for i, w in enumerate(weights))
    return np.asarray(result)


def _linear(colours: Array, height: int, width: int) -> Array:
    for axis, new in ((1, height), (2, width)):
        old = colours.shape[axis]
        place = np.clip((np.arange(new) + 0.5) * old / new - 0.5, 0, old - 1)
        colours = _between(colours, place, axis)
    return colours


def _corners_aligned(colours: Array, height: int, width: int) -> Array:
    for axis, new in ((1, height), (2, width)):
        colours = _between(colours, np.linspace(0, colours.shape[axis] - 1, new), axis)
    return colours


def _without_half(colours: Array, height: int, width: int) -> Array:
    for axis, new in ((1, height), (2, width)):
        old = colours.shape[axis]
        colours = _between(colours, np.clip(np.arange(new) * old / new, 0, old - 1), axis)
    return colours


def _between(colours: Array, place: Array, axis: int) -> Array:
    before = np.floor(place).astype(int)
    after = np.minimum(before + 1, colours.shape[axis] - 1)
    share = (place - before).reshape([-1 if a == axis else 1 for a in range(3)])
    return np.asarray((1 - share) * colours.take(before, axis) + share * colours.take(after, axis))


def _nearest_colour(colours: Array, height: int, width: int) -> Array:
    return colours[:, _indices(colours.shape[1], height)][:, :, _indices(colours.shape[2], width)]


def _painting(
    *,
    colour: Callable[[Array, int, int], Array] = _linear,
    share: Callable[[Array, int, int], Array] = lambda mask, h, w: _smoothed(_resized(mask, h, w)),
    blend: Callable[[Array, Array, Array], Array] = lambda alpha, new, old: alpha * new + (1 - alpha) * old,
    mask_of_the_old: bool = False,
    one_after_the_other: bool = False,
    from_the_changed: bool = False,
    first_only: bool = False,
    at_its_own_size: bool = False,
) -> Function:
    """Images with one step of the pasting exchanged; boxes as they must be."""

    def mutant(images: Array, masks: Array, boxes: Array, image_index: Array, pairs: Array) -> Any:  # noqa: ANN401
        right, new_boxes, new_index = _RIGHT_SWITCH(images, masks, boxes, image_index, pairs)
        start = np.array(images, dtype=np.float64)
        made = np.zeros(right.shape)
        for p, (first, second) in enumerate(pairs):
            source = start.copy()
            for side, (goes, comes) in enumerate(((first, second), (second, first))):
                picture = start[image_index[goes]].copy()
                if not (first_only and side == 1):
                    x1, y1, x2, y2 = boxes[goes]
                    if at_its_own_size:
                        x2, y2 = np.minimum((x1, y1) + boxes[comes, 2:] - boxes[comes, :2], picture.shape[:0:-1])
                    old = picture[:, y1:y2, x1:x2]
                    n = goes if mask_of_the_old else comes
                    new = colour(_crop(source[image_index[comes]], boxes[comes]), y2 - y1, x2 - x1)
                    alpha = share(_crop(masks[n].astype(bool), boxes[n]), y2 - y1, x2 - x1)
                    picture[:, y1:y2, x1:x2] = blend(alpha, new, old)
                made[p, side] = picture
                if from_the_changed:
                    source[image_index[goes]] = picture
            if one_after_the_other:
                start[image_index[first]], start[image_index[second]] = made[p]
        return made, new_boxes, new_index

    return mutant


def _placing(change: Callable[[Array, Array, Array, Array], tuple[Array, Array]]) -> Function:
    """Other boxes and places of the objects; images as they must be."""

    def mutant(images: Array, masks: Array, boxes: Array, image_index: Array, pairs: Array) -> Any:  # noqa: ANN401
        made, new_boxes, new_index = _RIGHT_SWITCH(images, masks, boxes, image_index, pairs)
        for p, pair in enumerate(pairs):
            new_boxes[p], new_index[p] = change(np.asarray(boxes), np.asarray(image_index), np.asarray(pair),
                                                new_boxes[p].copy())  # fmt: skip
        return made, new_boxes, new_index

    return mutant


def _exchanged(values: Array, pair: Array) -> Array:
    result = values.copy()
    result[pair] = values[pair[::-1]]
    return result


def _own_sizes(boxes: Array, index: Array, pair: Array, right: Array) -> tuple[Array, Array]:
    for n in pair:
        right[n, 2:] = right[n, :2] + boxes[n, 2:] - boxes[n, :2]
    return right, _exchanged(index, pair)


SWITCHING_MUTANTS = (
    Mutant("switch/whole-box", "the whole box pasted, without the mask", _painting(
        share=lambda _, h, w: np.ones((h, w)))),
    Mutant("switch/hard-edge", "a mask that is not smoothed", _painting(share=_resized)),
    Mutant("switch/smoothed-before", "a mask smoothed before it changes its size", _painting(
        share=lambda mask, h, w: _resized(_smoothed(mask), h, w))),
    Mutant("switch/black-border", "a mask that fades at the edges of its box", _painting(
        share=lambda mask, h, w: _smoothed(_resized(mask, h, w), mode="zero"))),
    Mutant("switch/repeated-border", "a border that repeats the edge in place of a mirror", _painting(
        share=lambda mask, h, w: _smoothed(_resized(mask, h, w), mode="edge"))),
    Mutant("switch/mean-filter", "a mean of 3 x 3 in place of the Gaussian", _painting(
        share=lambda mask, h, w: _smoothed(_resized(mask, h, w), weights=np.full(3, 1 / 3)))),
    Mutant("switch/sigma-1", "a Gaussian of sigma 1", _painting(share=lambda mask, h, w: _smoothed(
        _resized(mask, h, w), weights=np.exp([-0.5, 0, -0.5]) / np.exp([-0.5, 0, -0.5]).sum()))),
    Mutant("switch/premultiplied-twice", "the new colour weighed twice", _painting(
        blend=lambda alpha, new, old: alpha**2 * new + (1 - alpha) * old)),
    Mutant("switch/added", "the new colour added, the old one kept", _painting(
        blend=lambda alpha, new, old: alpha * new + old)),
    Mutant("switch/inverted", "a mask turned over", _painting(
        blend=lambda alpha, new, old: (1 - alpha) * new + alpha * old)),
    Mutant("switch/mask-of-the-old", "the mask of the object that goes", _painting(mask_of_the_old=True)),
    Mutant("switch/corner-mask", "the mask taken at the corner of each pixel", _painting(
        share=lambda mask, h, w: _smoothed(_at_the_corner(mask, h, w)))),
    Mutant("switch/nearest-colour", "colours of the nearest pixel", _painting(colour=_nearest_colour)),
    Mutant("switch/corners-aligned", "places that run from first to last pixel", _painting(colour=_corners_aligned)),
    Mutant("switch/half-a-pixel", "places that forget the half pixel", _painting(colour=_without_half)),
    Mutant("switch/own-size", "objects pasted at the size they had", _painting(at_its_own_size=True)),
    Mutant("switch/one-way", "only the first image changed", _painting(first_only=True)),
    Mutant("switch/from-the-changed", "the second object taken from the image already painted", _painting(
        from_the_changed=True)),
    Mutant("switch/one-after-the-other", "a pair that starts from what the pair before left", _painting(
        one_after_the_other=True)),
    Mutant("switch/boxes-stay", "annotations as they were", _placing(lambda boxes, index, *_: (boxes, index))),
    Mutant("switch/images-stay", "boxes exchanged, the images of the objects not", _placing(
        lambda boxes, index, pair, _: (_exchanged(boxes, pair), index))),
    Mutant("switch/own-sizes", "boxes that move, but keep their sizes", _placing(_own_sizes)),
    Mutant("switch/in-place", "its inputs overwritten", mistakes.overwriting(_RIGHT_SWITCH, "images")),
    Mutant("switch/broadcast", "boxes repeated for another number of objects", mistakes.broadcasting(
        _RIGHT_SWITCH, "boxes", "masks")),
    Mutant("switch/raises-on-empty", "an error where there is nothing to paint", mistakes.failing_on_empty(
        _RIGHT_SWITCH, "pairs")),
)  # fmt: skip
