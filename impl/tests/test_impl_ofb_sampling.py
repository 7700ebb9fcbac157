"""The fast form of online foreground balanced sampling."""

import pytest
import torch

import steelyard.impl as room
from steelyard import reference

C = 4


def _batch(seed, shape=(3, 40), dtype=torch.float64):
    generator = torch.Generator().manual_seed(seed)
    labels = torch.randint(-1, C + 1, shape, generator=generator)
    labels[..., : shape[-1] // 2] = 0  # one class has most of the boxes
    return labels, torch.rand(shape, generator=generator, dtype=dtype)


@pytest.mark.parametrize("dtype", [torch.float64, torch.float32, torch.float16, torch.bfloat16])
@pytest.mark.parametrize("num_expected", [0, 1, 7, 100])
def test_draws_what_the_reference_draws(dtype, num_expected):
    """Bit for bit, whatever the precision of the keys: also in half precision, where many are equal."""
    labels, keys = _batch(num_expected, dtype=dtype)

    drawn = room.foreground_balanced_sampling(labels, keys, num_classes=C, num_expected=num_expected)

    expected = reference.foreground_balanced_sampling(
        labels.numpy(), keys.double().numpy(), num_classes=C, num_expected=num_expected
    )
    assert torch.equal(drawn, torch.from_numpy(expected))


def test_shapes_without_an_axis_of_images_and_with_two():
    """Leading axes are images; none is one image; no candidate draws nothing."""
    labels, keys = _batch(1, (2, 3, 10))
    drawn = room.foreground_balanced_sampling(labels, keys, num_classes=C, num_expected=3)

    assert torch.equal(
        drawn[1, 2], room.foreground_balanced_sampling(labels[1, 2], keys[1, 2], num_classes=C, num_expected=3)
    )
    empty = room.foreground_balanced_sampling(labels[..., :0], keys[..., :0], num_classes=C, num_expected=3)
    assert empty.shape == (2, 3, 0)


def test_runs_without_data_and_compiles_whole():
    """No value is looked at on the host, no graph break, one graph for any number of candidates."""

    def sample(labels, keys):
        return room.foreground_balanced_sampling(labels, keys, num_classes=C, num_expected=5)

    labels, keys = _batch(2)
    assert sample(labels.to("meta"), keys.to("meta")).shape == (3, 40)
    compiled = torch.compile(sample, fullgraph=True, backend="aot_eager", dynamic=True)
    for length in (40, 30):
        part = labels[:, :length], keys[:, :length]
        assert torch.equal(compiled(*part), sample(*part))


def test_vmap_is_a_loop_over_images():
    """Images do not see each other."""

    def sample(labels, keys):
        return room.foreground_balanced_sampling(labels, keys, num_classes=C, num_expected=5)

    labels, keys = _batch(3)
    assert torch.equal(torch.vmap(sample)(labels, keys), sample(labels, keys))


@pytest.mark.parametrize(
    ("change", "error", "message"),
    [
        ({"keys": torch.zeros(3, dtype=torch.int64)}, TypeError, "keys: expected a floating dtype"),
        ({"labels": torch.zeros(3)}, TypeError, "labels: expected a bool or integer dtype"),
        ({"labels": torch.zeros(2, dtype=torch.int64)}, ValueError, "labels: expected shape"),
        ({"num_expected": -1}, ValueError, "num_expected: expected an int >= 0"),
        ({"num_classes": 0}, ValueError, "num_classes"),
    ],
)
def test_bad_input_is_refused(change, error, message):
    """Shapes, dtypes and Python numbers: what needs no look at the data."""
    call = {"labels": torch.zeros(3, dtype=torch.int64), "keys": torch.zeros(3), "num_classes": 2, "num_expected": 1}

    with pytest.raises(error, match=message):
        room.foreground_balanced_sampling(**{**call, **change})
