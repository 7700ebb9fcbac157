r"""Class-aware sampling: classes in turn, and of each class its images in turn.

Source: Shen, Lin, Huang, "Relay Backpropagation for Effective Learning of Deep Convolutional Neural Networks", ECCV
2016 (arXiv 1512.05830), section 4.1; mmdet's ``ClassAwareSampler``.
"""

import numpy as np
from numpy.typing import ArrayLike

from steelyard.reference.checks import Float, Int, SpecError, count, int_array, key_array


def class_aware_order(
    labels: ArrayLike,
    class_keys: ArrayLike,
    image_keys: ArrayLike,
    *,
    num_classes: int,
    images_per_class: int = 1,
    epoch_length: int | None = None,
) -> Int:
    r"""The order of one epoch, by explicit random keys.

    Every pass goes through the classes that occur, in a random order of its own, and takes the next `images_per_class`
    images of each. The images of a class come in random orders, one cycle after the other: none comes again before all
    others of its class did. The passes, one after the other, are cut to the length of the epoch.

    The keys of $P$ passes with $s$ images a class: class $c$ with images $I_0 < I_1 < \dots$, $n_c$ of them, has
    $P s + n_c$ keys $u_0, u_1, \dots$, which follow those of the classes before it. Its first cycle is its images in
    the order of their keys $u_0, \dots, u_{n_c - 1}$, its second by $u_{n_c}, \dots, u_{2 n_c - 1}$, and so on.

    Parameters
    ----------
    labels : int, shape (N, M)
        Classes 0..C-1 of the objects of each image; -1 fills up the row. An image has a class once.
    class_keys : float in [0, 1), shape (P, C)
        The classes of a pass come in the order of their keys.
    image_keys : float in [0, 1), shape (C P s + N M,)
        As above; what is left over is not used. Of equal keys the first comes first, here and in `class_keys`.
    num_classes : int >= 1
        C.
    images_per_class : int >= 1
        $s$.
    epoch_length : int >= 0 or None
        None: as many as images, N.

    Returns
    -------
    int64, shape (epoch_length,)
        Numbers of images.

    Raises
    ------
    SpecError
        A shape does not fit, a label or key is out of range, the passes are too few for the length, or no image has an
        object.

    Source
    ------
    Paper, section 4.1 (two lists that are shuffled when they are used up); mmdet for the length and for
    `images_per_class`. Rulings: images without objects are never drawn; an image with several classes is in the list of
    each, and nothing keeps it from coming for two of them in succession.

    Examples
    --------
    Class 0 is in the images 0 and 1, class 1 in image 2. Both passes begin with class 1; the first cycle of class 0 is
    image 1, then 0.

    >>> class_aware_order(
    ...     [[0], [0], [1]], [[0.9, 0.1], [0.9, 0.1]], [0.7, 0.2, 0, 0, 0, 0, 0], num_classes=2, epoch_length=4
    ... )
    array([2, 1, 2, 0])
    """
    # CHECKS
    num_classes = count("num_classes", num_classes)
    images_per_class = count("images_per_class", images_per_class)
    label = int_array("labels", labels, low=-1, high=num_classes - 1)
    if label.ndim != 2:
        raise SpecError(f"labels: expected shape (N, M), got {label.shape}")
    length = len(label) if epoch_length is None else count("epoch_length", epoch_length, low=0)
    class_key, image_key, passes = _keys(class_keys, image_keys, label, num_classes, images_per_class)
    images = [np.flatnonzero((label == c).any(axis=1)) for c in range(num_classes)]
    present = [c for c in range(num_classes) if len(images[c])]
    if length > passes * len(present) * images_per_class:
        raise SpecError(f"class_keys: {passes} passes through {len(present)} classes do not fill {length} places")

    # QUANTITIES OF THE PAPER
    wanted = passes * images_per_class
    stream, begin = {}, 0
    for c in range(num_classes):
        stream[c] = _cycles(images[c], image_key[begin:], wanted)
        begin += wanted + len(images[c])

    order: list[int] = []
    for number in range(passes):
        for c in sorted(present, key=lambda c: class_key[number, c]):
            order.extend(stream[c][number * images_per_class : (number + 1) * images_per_class])

    # RESULT
    return np.array(order[:length], dtype=np.int64)


def _keys(
    class_keys: ArrayLike, image_keys: ArrayLike, label: Int, num_classes: int, images_per_class: int
) -> tuple[Float, Float, int]:
    class_key = key_array("class_keys", class_keys)
    if class_key.ndim != 2 or class_key.shape[1] != num_classes:
        raise SpecError(f"class_keys: expected shape (P, {num_classes}), got {class_key.shape}")
    passes = len(class_key)
    needed = num_classes * passes * images_per_class + label.size
    return class_key, key_array("image_keys", image_keys, shape=(needed,)), passes


def _cycles(images: Int, keys: Float, wanted: int) -> list[int]:
    """Random orders of the same images, one after the other."""
    drawn: list[int] = []
    for begin in range(0, wanted, max(len(images), 1)):
        drawn.extend(images[np.argsort(keys[begin : begin + len(images)], kind="stable")])
    return drawn
