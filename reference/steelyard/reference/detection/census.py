r"""Census: how many candidates are background, ignored and foreground, and of which class.

Source: Oksuz, Cam, Kalkan, Akbas, "Imbalance Problems in Object Detection: A Review", TPAMI 2021 (arXiv
1909.00169), section 4 and its figure of RetinaNet's anchors on COCO: 166827.50 background and 163.04 foreground
anchors an image.

A census is made image by image: `count_labels` counts one, `add_census` adds two, and what is counted are whole
numbers, so that nothing is lost over a data set of $10^{10}$ anchors. Ratios are taken at the end, from the totals
(see `imbalance_indices`).
"""

from collections.abc import Iterable
from typing import NamedTuple

import numpy as np
from numpy.typing import ArrayLike

from steelyard.reference.checks import Int, SpecError, count, label_array, level_array, mask_array


class Census(NamedTuple):
    """Counts over any number of images."""

    images: int
    images_without_foreground: int
    background: int
    ignored: int
    foreground: int
    by_level: Int
    """Shape (L, 3): background, ignored and foreground of each pyramid level."""
    by_class: Int
    """Shape (C,): foreground candidates of each class."""
    images_by_class: Int
    """Shape (C,): images that have a foreground candidate of the class."""


def count_labels(
    labels: ArrayLike,
    *,
    num_classes: int,
    levels: ArrayLike | None = None,
    num_levels: int = 1,
    mask: ArrayLike | None = None,
) -> Census:
    """Census of one image.

    Parameters
    ----------
    labels : int, shape (N,)
        Of the candidates: 0..C-1 foreground, C background, -1 ignored. With the class ids of annotations instead,
        it is a census of the objects.
    num_classes : int >= 1
        C: all declared classes, also those that do not occur.
    levels : int in [0, num_levels), shape (N,), or None
        Pyramid level of each candidate; None: one level.
    num_levels : int >= 1
    mask : bool, shape (N,), or None
        Only candidates that are True are counted: those that a sampler drew, or that are not padding.

    Returns
    -------
    Census
        With `images` 1. Every counted candidate is in exactly one of background, ignored, foreground.

    Raises
    ------
    SpecError
        A shape does not fit, a label or level is out of range.

    Source
    ------
    Review, section 4. Rulings: ignored candidates are neither background nor foreground; an image without
    foreground is an image; images and instances of a class are different counts.

    Examples
    --------
    >>> census = count_labels([0, 2, 2, -1, 0], num_classes=2)
    >>> census.background, census.ignored, census.foreground, census.by_class.tolist()
    (2, 1, 2, [2, 0])
    """
    # CHECKS
    num_classes, num_levels = count("num_classes", num_classes), count("num_levels", num_levels)
    label = label_array("labels", labels, num_classes=num_classes)
    if label.ndim != 1:
        raise SpecError(f"labels: expected shape (N,), got {label.shape}")
    level = level_array(levels, num_levels, label.shape)
    counted = mask_array("mask", mask, label.shape)

    # QUANTITIES OF THE PAPER
    label, level = label[counted], level[counted]
    kind = np.where(label == num_classes, 0, np.where(label == -1, 1, 2))
    by_level = np.bincount(3 * level + kind, minlength=3 * num_levels).reshape(num_levels, 3)
    background, ignored, foreground = by_level.sum(axis=0).tolist()
    by_class = np.bincount(label[kind == 2], minlength=num_classes)

    # RESULT
    return Census(
        images=1,
        images_without_foreground=0 if foreground else 1,
        background=background,
        ignored=ignored,
        foreground=foreground,
        by_level=by_level,
        by_class=by_class,
        images_by_class=np.minimum(by_class, 1),
    )


def empty_census(*, num_classes: int, num_levels: int = 1) -> Census:
    """Census of no image, with which a sum begins.

    Parameters
    ----------
    num_classes, num_levels : int >= 1
        As in `count_labels`.

    Returns
    -------
    Census

    Raises
    ------
    SpecError
        A number is out of range.

    Source
    ------
    The neutral element of `add_census`.

    Examples
    --------
    >>> empty_census(num_classes=2).images
    0
    """
    # CHECKS
    num_classes, num_levels = count("num_classes", num_classes), count("num_levels", num_levels)

    # RESULT
    by_class = np.zeros(num_classes, dtype=np.int64)
    return Census(0, 0, 0, 0, 0, np.zeros((num_levels, 3), dtype=np.int64), by_class, by_class.copy())


def add_census(census: Census, other: Census) -> Census:
    """Census of the images of both.

    Parameters
    ----------
    census, other : Census
        Of different images, with the same classes and levels.

    Returns
    -------
    Census
        Field by field the sum.

    Raises
    ------
    SpecError
        The numbers of classes or levels differ.

    Source
    ------
    Review, section 4: the figure divides totals by the number of all images.

    Examples
    --------
    >>> total = add_census(count_labels([0, 1], num_classes=1), count_labels([1], num_classes=1))
    >>> total.images, total.images_without_foreground, total.background
    (2, 1, 2)
    """
    # CHECKS
    if census.by_class.shape != other.by_class.shape or census.by_level.shape != other.by_level.shape:
        raise SpecError("census: expected the same numbers of classes and of levels in both")

    # RESULT
    return Census(
        images=census.images + other.images,
        images_without_foreground=census.images_without_foreground + other.images_without_foreground,
        background=census.background + other.background,
        ignored=census.ignored + other.ignored,
        foreground=census.foreground + other.foreground,
        by_level=census.by_level + other.by_level,
        by_class=census.by_class + other.by_class,
        images_by_class=census.images_by_class + other.images_by_class,
    )


def total_census(censuses: Iterable[Census], *, num_classes: int, num_levels: int = 1) -> Census:
    """Census of all images: the sum of theirs.

    Parameters
    ----------
    censuses : iterable of Census
        May be a generator: one is held at a time.
    num_classes, num_levels : int >= 1

    Returns
    -------
    Census

    Raises
    ------
    SpecError
        The numbers of classes or levels differ.

    Source
    ------
    As `add_census`.

    Examples
    --------
    >>> total_census((count_labels([0, 1], num_classes=1) for _ in range(3)), num_classes=1).foreground
    3
    """
    total = empty_census(num_classes=num_classes, num_levels=num_levels)
    for census in censuses:
        total = add_census(total, census)
    return total
