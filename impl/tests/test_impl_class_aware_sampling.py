"""The fast form of class-aware sampling, and the sampler that uses it."""

import pytest
import torch

import steelyard.impl as room
from steelyard import reference
from steelyard.impl.foreground_balance.data_set_samplers import ClassAwareSampler


def inputs(seed, images=30, objects=4, classes=9, passes=12, images_per_class=1):
    generator = torch.Generator().manual_seed(seed)
    labels = (torch.rand((images, objects), generator=generator) ** 3 * (classes - 1)).long()  # the last is absent
    labels = labels.masked_fill(torch.rand(labels.shape, generator=generator) < 0.4, -1)
    class_keys = torch.rand((passes, classes), generator=generator, dtype=torch.float64)
    number = classes * passes * images_per_class + labels.numel()
    return labels, class_keys, torch.rand(number, generator=generator, dtype=torch.float64)


@pytest.mark.parametrize("seed", range(8))
@pytest.mark.parametrize("images_per_class", [1, 3])
@pytest.mark.parametrize("epoch_length", [None, 0, 1, 41])
def test_order_is_that_of_the_reference(seed, images_per_class, epoch_length):
    """Place by place, from equal keys: absent classes, images without objects, cycles that end within a pass."""
    arrays = inputs(seed, images_per_class=images_per_class)
    options = {"num_classes": 9, "images_per_class": images_per_class, "epoch_length": epoch_length}

    found = room.class_aware_order(*arrays, **options)

    expected = reference.class_aware_order(*(array.numpy() for array in arrays), **options)
    assert torch.equal(found, torch.from_numpy(expected))


def test_equal_keys_keep_the_order_of_images_and_classes():
    """As in the reference: the first comes first."""
    labels, class_keys, image_keys = inputs(1)
    keys = torch.zeros_like(class_keys), torch.zeros_like(image_keys)

    found = room.class_aware_order(labels, *keys, num_classes=9)

    expected = reference.class_aware_order(labels.numpy(), *(key.numpy() for key in keys), num_classes=9)
    assert torch.equal(found, torch.from_numpy(expected))


def test_nothing_to_draw():
    """No image, or none with an object."""
    keys = torch.rand(2, 3), torch.rand(3 * 2 + 4)

    assert room.class_aware_order(torch.full((2, 2), -1), *keys, num_classes=3).tolist() == [-1, -1]
    empty = torch.zeros((0, 4), dtype=torch.long)
    assert room.class_aware_order(empty, torch.rand(0, 3), torch.rand(0), num_classes=3).shape == (0,)


def test_runs_without_data_and_compiles_whole():
    """Its shape follows from those of its inputs; inputs are not written to."""
    arrays = inputs(2)
    copies = [array.clone() for array in arrays]

    def order(*arrays):
        return room.class_aware_order(*arrays, num_classes=9, epoch_length=33)

    assert order(*(array.to("meta") for array in arrays)).shape == (33,)
    compiled = torch.compile(order, fullgraph=True, backend="aot_eager")
    assert torch.equal(compiled(*arrays), order(*arrays))
    assert all(torch.equal(before, after) for before, after in zip(copies, arrays, strict=True))


@pytest.mark.parametrize("images_per_class", [1, 2])
def test_the_sampler_has_the_order_of_the_specification(images_per_class):
    """From the same generator's keys, the reference draws what the sampler draws."""
    labels = torch.tensor([[0, -1, -1]] * 6 + [[0, 1, -1]] * 2 + [[0, 1, 2], [-1, -1, -1]])
    sampler = ClassAwareSampler(labels, num_classes=5, epoch_length=23, images_per_class=images_per_class)

    found = sampler.order(torch.Generator().manual_seed(7))

    generator, passes = torch.Generator().manual_seed(7), -(-23 // (3 * images_per_class))
    class_keys = torch.rand((passes, 5), generator=generator, dtype=torch.float64)
    image_keys = torch.rand(5 * passes * images_per_class + 30, generator=generator, dtype=torch.float64)
    expected = reference.class_aware_order(
        labels.numpy(), class_keys.numpy(), image_keys.numpy(), num_classes=5, images_per_class=images_per_class,
        epoch_length=23,
    )  # fmt: skip
    assert found.tolist() == expected.tolist()


def test_the_sampler_keeps_one_place_a_class():
    """Objects that repeat a class cost no memory and change no law."""
    crowded = torch.tensor([[0] * 50, [1] * 25 + [0] * 25, [-1] * 50])

    plain = ClassAwareSampler(torch.tensor([[0, -1], [1, 0], [-1, -1]]), num_classes=2)

    assert list(ClassAwareSampler(crowded, num_classes=2)) == list(plain)


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"labels": torch.zeros(2, dtype=torch.long)}, "labels: expected shape"),
        ({"labels": torch.zeros(2, 1)}, "labels: expected a bool or integer"),
        ({"class_keys": torch.rand(2, 3)}, "class_keys: expected shape"),
        ({"image_keys": torch.rand(5)}, "image_keys: expected shape"),
        ({"epoch_length": 5}, "2 passes do not fill 5 places"),
        ({"images_per_class": 0}, "images_per_class"),
        ({"num_classes": 0}, "num_classes"),
    ],
)
def test_bad_input_is_refused(change, message):
    """Shapes, dtypes and numbers."""
    arguments = {"labels": torch.zeros(2, 1, dtype=torch.long), "class_keys": torch.rand(2, 2),
                 "image_keys": torch.rand(6), "num_classes": 2}  # fmt: skip

    with pytest.raises((TypeError, ValueError), match=message):
        room.class_aware_order(**{**arguments, **change})
