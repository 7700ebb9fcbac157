"""Class-aware sampling: its laws on every order, its law of large numbers on many."""

import numpy as np
import pytest

from steelyard.reference import class_aware_order
from steelyard.reference.checks import SpecError

# six images of class 0, two of 0 and 1, one of all three, one without objects
DATA_SET = np.array([[0, -1, -1]] * 6 + [[0, 1, -1]] * 2 + [[0, 1, 2], [-1, -1, -1]])


def order_of(labels, seed, *, num_classes, passes, images_per_class=1, epoch_length=None):
    random = np.random.default_rng(seed)
    return class_aware_order(
        labels,
        random.random((passes, num_classes)),
        random.random(num_classes * passes * images_per_class + np.size(labels)),
        num_classes=num_classes,
        images_per_class=images_per_class,
        epoch_length=epoch_length,
    )


def test_expected_draws_of_the_worked_data_set():
    """10/27 for an image of class 0 only, 10/9 more for class 1, 10/3 more for class 2, within 5 standard errors."""
    runs = 2000
    counts = np.stack([np.bincount(order_of(DATA_SET, r, num_classes=3, passes=4), minlength=10) for r in range(runs)])

    expected = np.array([10 / 27] * 6 + [10 / 27 + 10 / 9] * 2 + [10 / 27 + 10 / 9 + 10 / 3, 0])
    np.testing.assert_allclose(expected[[0, 6, 8]], [0.370370370370370, 1.48148148148148, 4.81481481481481], rtol=1e-14)
    assert (np.abs(counts.mean(axis=0) - expected) <= 5 * counts.std(axis=0) / np.sqrt(runs)).all()
    assert counts[:, 9].sum() == 0


@pytest.mark.parametrize("images_per_class", [1, 2, 3])
def test_every_pass_has_every_class_alike_and_every_cycle_every_image(images_per_class):
    """Images of one class each, so that an order shows both."""
    labels = np.repeat([0, 1, 3], [7, 2, 1])[:, np.newaxis]
    passes = 11
    order = order_of(
        labels, 1, num_classes=5, passes=passes, images_per_class=images_per_class,
        epoch_length=3 * passes * images_per_class,
    )  # fmt: skip

    classes = labels[order, 0]
    for part in classes.reshape(passes, -1):
        assert np.bincount(part, minlength=4).tolist() == [images_per_class, images_per_class, 0, images_per_class]
        assert (part.reshape(3, -1) == part.reshape(3, -1)[:, :1]).all(), "a class after the other"
    for c, size in ((0, 7), (1, 2), (3, 1)):
        drawn = order[classes == c]
        whole = drawn[: len(drawn) // size * size].reshape(-1, size)
        assert (np.sort(whole, axis=1) == np.flatnonzero(labels[:, 0] == c)).all()


def test_one_class_is_a_shuffle():
    """Without others, an epoch is a permutation by the keys."""
    keys = [0.9, 0.1, 0.5, 0.3, 0.0, 0.0, 0.0, 0.0]

    order = class_aware_order([[0]] * 4, np.zeros((4, 1)), keys, num_classes=1)

    assert order.tolist() == [1, 3, 2, 0]


def test_an_image_has_a_class_once():
    """Named twice it is in the list once; keys that are left over stand at the end."""
    keys = np.random.default_rng(3).random(2 * 4 + 3)
    class_keys = np.random.default_rng(4).random((4, 2))

    once = class_aware_order([[0], [0], [1]], class_keys, keys, num_classes=2, epoch_length=8)
    twice = class_aware_order([[0, 0], [0, -1], [1, 1]], class_keys, np.append(keys, [0.5] * 3), num_classes=2,
                              epoch_length=8)  # fmt: skip

    np.testing.assert_array_equal(once, twice)


def test_the_epoch_is_cut_and_may_be_empty():
    """Prefixes of one another; no image, no place."""
    long = order_of(DATA_SET, 5, num_classes=3, passes=4, epoch_length=12)

    for length in (0, 1, 7):
        np.testing.assert_array_equal(
            order_of(DATA_SET, 5, num_classes=3, passes=4, epoch_length=length), long[:length]
        )
    assert order_of(np.zeros((0, 2), int), 0, num_classes=3, passes=0).shape == (0,)


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"labels": [0, 1]}, r"labels: expected shape \(N, M\)"),
        ({"labels": [[0], [2]]}, "labels"),
        ({"class_keys": np.zeros((2, 3))}, "class_keys: expected shape"),
        ({"class_keys": np.ones((2, 2))}, "class_keys"),
        ({"image_keys": np.zeros(5)}, "image_keys: expected shape"),
        ({"image_keys": np.ones(6)}, "image_keys"),
        ({"epoch_length": 5}, "2 passes through 2 classes do not fill 5 places"),
        ({"labels": [[0], [0]], "epoch_length": 3}, "2 passes through 1 classes do not fill 3 places"),
        ({"labels": [[-1], [-1]]}, "passes through 0 classes"),
        ({"images_per_class": 0}, "images_per_class"),
        ({"epoch_length": -1}, "epoch_length"),
    ],
)
def test_bad_input_is_refused(change, message):
    """Each error names the argument."""
    arguments = {"labels": [[0], [1]], "class_keys": np.zeros((2, 2)), "image_keys": np.zeros(6), "num_classes": 2}

    with pytest.raises(SpecError, match=message):
        class_aware_order(**{**arguments, **change})
