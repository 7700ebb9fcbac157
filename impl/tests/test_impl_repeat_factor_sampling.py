"""The fast form of repeat-factor sampling."""

import pytest
import torch

import steelyard.impl as room
from steelyard import reference


def _labels(seed, shape=(200, 6), classes=12):
    generator = torch.Generator().manual_seed(seed)
    frequency = torch.rand(shape, generator=generator) ** 4
    labels = (frequency * classes).long()
    return labels.masked_fill(torch.rand(shape, generator=generator) < 0.3, -1)


@pytest.mark.parametrize("square_root", [True, False])
@pytest.mark.parametrize("threshold", [0.0, 0.3, 0.5])
def test_factors_are_those_of_the_reference(square_root, threshold):
    """In float64, to the last bits, also for classes that are absent."""
    labels = _labels(0)
    options = {"num_classes": 15, "threshold": threshold, "square_root": square_root}

    found = room.image_repeat_factors(labels, **options)

    expected = torch.from_numpy(reference.image_repeat_factors(labels.numpy(), **options))
    torch.testing.assert_close(found, expected, rtol=1e-15, atol=0)
    assert threshold == 0 or (found > 1).any()


def test_empty_rows_and_empty_data_sets():
    """Images without a place for objects, and no image."""
    assert room.image_repeat_factors(torch.zeros((2, 0), dtype=torch.long), num_classes=2).tolist() == [1, 1]
    assert room.image_repeat_factors(torch.zeros((0, 3), dtype=torch.long), num_classes=2).shape == (0,)


@pytest.mark.parametrize("rounding", ["stochastic", "ceil"])
def test_counts_and_order_are_those_of_the_reference(rounding):
    """Bit for bit from equal keys."""
    generator = torch.Generator().manual_seed(1)
    factors = 1 + 3 * torch.rand(100, generator=generator, dtype=torch.float64)
    factors[:5] = 2.0
    keys = torch.rand(100, generator=generator, dtype=torch.float64)

    counts = room.repeat_counts(factors, keys, rounding=rounding)
    order_keys = torch.rand(int(counts.sum()), generator=generator, dtype=torch.float64)
    order = room.repeated_images(counts, order_keys)

    expected = reference.repeat_counts(factors.numpy(), keys.numpy(), rounding=rounding)
    assert torch.equal(counts, torch.from_numpy(expected))
    assert torch.equal(order, torch.from_numpy(reference.repeated_images(expected, order_keys.numpy())))


def test_runs_without_data_and_compiles_whole():
    """Also the order of an epoch: its length is that of its keys."""
    labels, keys = _labels(2), torch.rand(200)

    def epoch(labels, keys, order_keys):
        factors = room.image_repeat_factors(labels, num_classes=12, threshold=0.5)
        return room.repeated_images(room.repeat_counts(factors, keys), order_keys)

    length = int(room.repeat_counts(room.image_repeat_factors(labels, num_classes=12, threshold=0.5), keys).sum())
    order_keys = torch.rand(length)
    assert epoch(*(t.to("meta") for t in (labels, keys, order_keys))).shape == (length,)
    compiled = torch.compile(epoch, fullgraph=True, backend="aot_eager")
    assert torch.equal(compiled(labels, keys, order_keys), epoch(labels, keys, order_keys))


@pytest.mark.parametrize(
    ("call", "message"),
    [
        (lambda: room.image_repeat_factors(torch.zeros(3, dtype=torch.long), num_classes=2), "labels: expected shape"),
        (lambda: room.image_repeat_factors(torch.zeros(3, 1), num_classes=2), "labels: expected a bool or integer"),
        (lambda: room.repeat_counts(torch.ones(2), torch.zeros(3)), "keys: expected shape"),
        (lambda: room.repeat_counts(torch.ones(2, 1), torch.zeros(2, 1)), "repeat_factors: expected shape"),
        (lambda: room.repeat_counts(torch.ones(2), torch.zeros(2), rounding="nearest"), "rounding: expected one of"),
        (lambda: room.repeated_images(torch.ones(2, 1, dtype=torch.long), torch.zeros(2)), "expected one axis"),
    ],
)
def test_bad_input_is_refused(call, message):
    """Shapes, dtypes and names."""
    with pytest.raises((TypeError, ValueError), match=message):
        call()
