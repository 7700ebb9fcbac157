r"""Instance switching: two objects of a class exchange their places, and each is given the other's size.

Source: Wang et al., "Data Augmentation for Object Detection via Progressive and Selective Instance-Switching" (PSIS,
arXiv 1906.00358), section 3; the authors' code (``extract_annotation_pair.py``, ``instance_switch.py``).

An image keeps its layout: where there was a cup there is a cup again, another one. So context stays plausible and the
number of objects of each class stays what it was. Only objects of similar shape and size can take each other's place;
which ones is decided by `switch_eligibility`, and `switch_instances` makes the images. How often a class is chosen,
the progressive part of the method, follows the accuracy of a trained detector and is not specified here.
"""

import numpy as np
from numpy.typing import ArrayLike

from steelyard.reference.checks import (
    Bool,
    Float,
    Int,
    SpecError,
    bool_array,
    finite_array,
    fraction,
    int_array,
    positive,
)


def switch_eligibility(  # noqa: PLR0913 - an object is described by five arrays
    masks: ArrayLike,
    boxes: ArrayLike,
    labels: ArrayLike,
    image_index: ArrayLike,
    crowd: ArrayLike,
    pairs: ArrayLike,
    *,
    min_size_ratio: float = 0.3,
    max_size_ratio: float = 3.0,
    max_difference: float = 0.3,
) -> Bool:
    r"""Which pairs of objects may be switched: another image, the same class, about the same size and shape.

    With $w, h$ the sides of the boxes, $m$ the pixels of the first object's mask inside its box, $m'$ those of the
    second one's after it was brought to the first one's box, and $d$ the pixels in which the two differ:

    $$ 0.3 \le \frac{w_1 h_1}{w_2 h_2} \le 3, \qquad \frac{d}{m} \le 0.3, \qquad \frac{d}{m'} \le 0.3, \qquad d > 0. $$

    Parameters
    ----------
    masks : bool, shape (N, H, W)
        Of each object, on the canvas of its image; what is outside of its box does not count.
    boxes : int, shape (N, 4)
        x1, y1, x2, y2 in whole pixels, $0 \le x_1 \le x_2 \le W$; x2 and y2 are the first column and row outside.
    labels : int, shape (N,)
        Classes.
    image_index : int, shape (N,)
        Where the object is.
    crowd : bool, shape (N,)
        Regions of several objects, which are never switched.
    pairs : int in [0, N), shape (P, 2)
        First and second object.
    min_size_ratio, max_size_ratio : float > 0
        Bounds of the quotient of the boxes' areas, first over second.
    max_difference : float in [0, 1]
        Bound of the share of pixels that differ.

    Returns
    -------
    bool, shape (P,)

    Raises
    ------
    SpecError
        Shapes do not fit, a box leaves the canvas, a number is out of its range.

    Source
    ------
    The code, whose numbers the defaults are. It compares a pair in both orders, which can differ: 0.3 is not 1/3, and
    the second mask is the one that changes its size. Rulings: pixels are counted (the code squares differences of
    8 bits, 255 * 255 = 1 modulo 256, which counts them too); an object without a box or a mask is not switched; bounds
    belong to the range, quotients are of float64.

    Examples
    --------
    Half of the second box is empty: brought to the first one's, its mask has 2 of 4 pixels. 2 differ: 2/4 and 2/2.

    >>> masks = [[[1, 1, 1, 1]], [[1, 0, 0, 0]]]
    >>> boxes = [[0, 0, 4, 1], [0, 0, 2, 1]]
    >>> switch_eligibility(masks, boxes, [7, 7], [0, 1], [0, 0], [[0, 1]], max_difference=1.0)
    array([ True])
    >>> switch_eligibility(masks, boxes, [7, 7], [0, 1], [0, 0], [[0, 1]], max_difference=0.9)
    array([False])
    """
    # CHECKS
    mask, box, pair = _object_arrays(masks, boxes, pairs)
    label = int_array("labels", labels, shape=box.shape[:1])
    image = int_array("image_index", image_index, shape=box.shape[:1])
    is_crowd = bool_array("crowd", crowd, shape=box.shape[:1])
    low, high = positive("min_size_ratio", min_size_ratio), positive("max_size_ratio", max_size_ratio)
    limit = fraction("max_difference", max_difference)

    # QUANTITIES OF THE PAPER
    eligible = np.zeros(len(pair), dtype=np.bool_)
    for p, (first, second) in enumerate(pair):
        if image[first] == image[second] or label[first] != label[second] or is_crowd[first] or is_crowd[second]:
            continue
        own, of_second = _crop(mask[first], box[first]), _crop(mask[second], box[second])
        if not of_second.any():
            continue
        other = _nearest(of_second, *own.shape)
        with np.errstate(divide="ignore", invalid="ignore"):  # no pixel left: infinite or NaN, in no range
            share = (own != other).sum() / min(own.sum(), other.sum())
        eligible[p] = low <= own.size / of_second.size <= high and 0.0 < share <= limit

    # RESULT
    return eligible


def switch_instances(
    images: ArrayLike, masks: ArrayLike, boxes: ArrayLike, image_index: ArrayLike, pairs: ArrayLike
) -> tuple[Float, Int, Int]:
    r"""The two images of each pair after their objects were exchanged, and where each object is then.

    The object that comes is cut out of its image by its box, brought to the box of the one that goes, and laid over it
    with its mask $\alpha$, brought to that box and smoothed at the edge, as the share of the new colour:

    $$ x = \alpha\, x_{new} + (1 - \alpha)\, x_{old} \quad \text{inside of the box}. $$

    A row $i$ of $h$ rows corresponds to the row $(i + 1/2)\, h' / h - 1/2$ of the $h'$ rows it comes from, columns
    alike: colours are interpolated linearly between the two nearest, a mask is taken from the nearest. The smoothing
    is a Gaussian of 3 x 3 with $\sigma = 2$, (0.3192, 0.3617, 0.3192) in each direction, mirrored at the edges of the
    box: what lies beyond the first row is the second one.

    Parameters
    ----------
    images : finite float, shape (I, C, H, W)
        Colours in any range.
    masks : bool, shape (N, H, W)
    boxes : int, shape (N, 4)
        As in `switch_eligibility`; those of a pair hold a pixel.
    image_index : int in [0, I), shape (N,)
    pairs : int in [0, N), shape (P, 2)
        First and second object, of two images. Every pair starts from the images as they are given.

    Returns
    -------
    float64, shape (P, 2, C, H, W)
        The image of the first object, with the second one in its place; the image of the second, with the first.
    int64, shape (P, N, 4) and shape (P, N)
        Boxes and images of all objects after that switch: those of the two are exchanged, the others' as before.

    Raises
    ------
    SpecError
        Shapes do not fit, a box of a pair is empty or leaves the canvas, a pair is of one image.

    Source
    ------
    The code. Rulings: colours are interpolated linearly, where the code calls its library's Lanczos filter; the mask
    comes from the nearest pixel, as that library does for images of one bit; the code also copies objects that lie
    inside of the box of the one that goes, with an offset that it does not scale: here they stay where they are.

    Examples
    --------
    One row: a bright object of one pixel and a dark one of one pixel change places.

    >>> images, boxes, where = switch_instances(
    ...     [[[[9.0, 1.0]]], [[[5.0, 2.0]]]], [[[1, 0]], [[0, 1]]], [[0, 0, 1, 1], [1, 0, 2, 1]], [0, 1], [[0, 1]]
    ... )
    >>> images.squeeze()
    array([[2., 1.],
           [5., 9.]])
    >>> boxes[0], where[0]
    (array([[1, 0, 2, 1],
           [0, 0, 1, 1]]), array([1, 0]))
    """
    # CHECKS
    image = finite_array("images", images)
    mask, box, pair = _object_arrays(masks, boxes, pairs)
    if image.ndim != 4 or image.shape[2:] != mask.shape[1:]:
        raise SpecError(f"images: expected shape (I, C, {mask.shape[1]}, {mask.shape[2]}), got {image.shape}")
    index = int_array("image_index", image_index, low=0, high=len(image) - 1, shape=box.shape[:1])
    for first, second in pair:
        if index[first] == index[second]:
            raise SpecError(f"pairs: expected objects of two images, got {first} and {second} of image {index[first]}")
        if (box[[first, second], :2] == box[[first, second], 2:]).any():
            raise SpecError(f"boxes: expected at least one pixel, got {box[first]} and {box[second]} of a pair")

    # QUANTITIES OF THE PAPER
    made = np.empty((len(pair), 2, *image.shape[1:]))
    new_boxes = np.tile(box, (len(pair), 1, 1))
    new_index = np.tile(index, (len(pair), 1))
    for p, (first, second) in enumerate(pair):
        for side, (goes, comes) in enumerate(((first, second), (second, first))):
            made[p, side] = image[index[goes]]
            x1, y1, x2, y2 = box[goes]
            inside = made[p, side, :, y1:y2, x1:x2]
            colour = _linear(image[index[comes], :, box[comes, 1] : box[comes, 3], box[comes, 0] : box[comes, 2]],
                             y2 - y1, x2 - x1)  # fmt: skip
            alpha = _smooth(_nearest(_crop(mask[comes], box[comes]), y2 - y1, x2 - x1))
            made[p, side, :, y1:y2, x1:x2] = alpha * colour + (1.0 - alpha) * inside
            new_boxes[p, goes], new_index[p, goes] = box[comes], index[comes]

    # RESULT
    return made, new_boxes, new_index


def _object_arrays(masks: ArrayLike, boxes: ArrayLike, pairs: ArrayLike) -> tuple[Bool, Int, Int]:
    mask = bool_array("masks", masks)
    if mask.ndim != 3:
        raise SpecError(f"masks: expected shape (N, H, W), got {mask.shape}")
    number, height, width = mask.shape
    box = int_array("boxes", boxes, low=0, shape=(number, 4))
    if (box[:, :2] > box[:, 2:]).any() or (box[:, 2:] > (width, height)).any():
        raise SpecError(f"boxes: expected x1 <= x2 <= {width} and y1 <= y2 <= {height}, got {box.tolist()}")
    pair = int_array("pairs", pairs, low=0, high=number - 1)
    if pair.ndim != 2 or pair.shape[1] != 2:
        raise SpecError(f"pairs: expected shape (P, 2), got {pair.shape}")
    return mask, box, pair


def _crop(mask: Bool, box: Int) -> Bool:
    x1, y1, x2, y2 = box
    return mask[y1:y2, x1:x2]


def _nearest(mask: Bool, height: int, width: int) -> Bool:
    """A mask brought to another size: the middle of each new pixel lies in one old pixel."""
    rows = (2 * np.arange(height) + 1) * mask.shape[0] // (2 * height)
    columns = (2 * np.arange(width) + 1) * mask.shape[1] // (2 * width)
    return mask[np.ix_(rows, columns)]


def _linear(colours: Float, height: int, width: int) -> Float:
    """Colours (C, h, w) brought to another size, first along the rows, then along the columns."""
    above, below, share = _neighbours(colours.shape[1], height)
    rows = (1.0 - share[:, None]) * colours[:, above] + share[:, None] * colours[:, below]
    left, right, share = _neighbours(colours.shape[2], width)
    return (1.0 - share) * rows[:, :, left] + share * rows[:, :, right]


def _neighbours(old: int, new: int) -> tuple[Int, Int, Float]:
    """For each of `new` places the two of `old` places around it, and the share of the second."""
    place = np.maximum((np.arange(new) + 0.5) * old / new - 0.5, 0.0)
    before = place.astype(np.int64)  # the whole part
    return before, np.minimum(before + 1, old - 1), place - before


def _smooth(mask: Bool) -> Float:
    """The mask with soft edges: a Gaussian of three by three."""
    side = np.exp(-1.0 / 8.0)
    weights = np.array([side, 1.0, side]) / (1.0 + 2.0 * side)
    height, width = mask.shape
    result = np.zeros(mask.shape)
    for down, weight_down in zip((-1, 0, 1), weights, strict=True):
        for right, weight_right in zip((-1, 0, 1), weights, strict=True):
            rows, columns = _mirrored(np.arange(height) + down, height), _mirrored(np.arange(width) + right, width)
            result += weight_down * weight_right * mask[np.ix_(rows, columns)]
    return result


def _mirrored(index: Int, size: int) -> Int:
    """One step beyond an edge is one step inside of it; with a single place there is no other."""
    return np.clip(np.where(index < 0, 1, np.where(index == size, size - 2, index)), 0, size - 1)
