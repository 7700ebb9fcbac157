"""Instance switching: it agrees with its specification, and its form suits accelerators."""

import numpy as np
import pytest
import torch

from steelyard.impl.generative.instance_switching import switch_eligibility, switch_instances
from steelyard.reference.generative import instance_switching as oracle


def scene(seed):
    """Four images, eight objects with boxes of any size down to nothing, ten pairs."""
    random = np.random.default_rng(seed)
    x, y = (np.sort(random.integers(0, size + 1, (8, 2)), axis=1) for size in (9, 7))
    smooth = random.random((8, 7, 9)) < 0.8
    pairs = np.array([random.choice(8, 2, replace=False) for _ in range(10)])
    return {
        "images": random.random((4, 2, 7, 9)), "masks": smooth,
        "boxes": np.stack([x[:, 0], y[:, 0], x[:, 1], y[:, 1]], axis=1),
        "labels": (random.random(8) < 0.2).astype(int), "image_index": random.integers(0, 4, 8),
        "crowd": random.random(8) < 0.1,
        "pairs": pairs,
    }  # fmt: skip


def tensors(arrays):
    return {name: torch.as_tensor(array) for name, array in arrays.items()}


def without(arrays, *names):
    return {name: array for name, array in arrays.items() if name not in names}


def switchable(arrays):
    """Those pairs that the specification switches: of two images, each with a pixel."""
    boxes, index = arrays["boxes"], arrays["image_index"]
    full = ((boxes[:, 2:] - boxes[:, :2]) > 0).all(axis=1)
    pairs = [(a, b) for a, b in arrays["pairs"] if index[a] != index[b] and full[a] and full[b]]
    return {**without(arrays, "labels", "crowd"), "pairs": np.array(pairs, dtype=np.int64).reshape(-1, 2)}


def test_eligibility_is_the_specification_s():
    """To the last pair, on scenes in which some are eligible and most are not."""
    limits = {"min_size_ratio": 0.1, "max_size_ratio": 6.0, "max_difference": 0.7}
    answers = []
    for seed in range(60):
        arrays = without(scene(seed), "images")
        wanted = oracle.switch_eligibility(**arrays, **limits)
        np.testing.assert_array_equal(switch_eligibility(**tensors(arrays), **limits).numpy(), wanted)
        answers += wanted.tolist()

    assert 10 < sum(answers) < len(answers) - 10


@pytest.mark.parametrize(("dtype", "tolerance"), [(torch.float64, 1e-13), (torch.float32, 1e-6), (torch.float16, 1e-3)])
def test_images_are_the_specification_s(dtype, tolerance):
    """Boxes and places exactly, colours to rounding."""
    for seed in range(20):
        arrays = switchable(scene(seed))
        arrays["images"] = torch.as_tensor(arrays["images"]).to(dtype).double().numpy()
        given = tensors(arrays)
        given["images"] = given["images"].to(dtype)

        made, boxes, index = switch_instances(**given)

        wanted, wanted_boxes, wanted_index = oracle.switch_instances(**arrays)
        assert made.dtype == dtype
        np.testing.assert_allclose(made.double().numpy(), wanted, atol=tolerance)
        np.testing.assert_array_equal(boxes.numpy(), wanted_boxes)
        np.testing.assert_array_equal(index.numpy(), wanted_index)


@pytest.mark.parametrize("function", [switch_eligibility, switch_instances])
def test_one_graph_without_data(function):
    """Shapes alone decide: on the meta device, and in one graph for any number of pairs."""
    arrays = scene(3)
    given = tensors(without(arrays, "images") if function is switch_eligibility else switchable(arrays))

    on_meta = function(**{name: tensor.to("meta") for name, tensor in given.items()})
    compiled = torch.compile(function, fullgraph=True, backend="eager")(**given)

    expected = function(**given)
    for shadow, found, wanted in zip(*map(_several, (on_meta, compiled, expected)), strict=True):
        assert shadow.shape == wanted.shape
        torch.testing.assert_close(found, wanted)


def _several(output):
    return output if isinstance(output, tuple) else (output,)


def test_no_pair_and_no_writing():
    """Without pairs there are no images; inputs stay as they are."""
    given = tensors(switchable(scene(3)))
    before = {name: tensor.clone() for name, tensor in given.items()}

    switch_instances(**given)
    made, boxes, index = switch_instances(**{**given, "pairs": given["pairs"][:0]})

    assert (made.shape, boxes.shape, index.shape) == ((0, 2, 2, 7, 9), (0, 8, 4), (0, 8))
    for name, tensor in given.items():
        torch.testing.assert_close(tensor, before[name])


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"images": torch.zeros(4, 2, 7, 8)}, "images: expected shape"),
        ({"boxes": torch.zeros(7, 4, dtype=torch.long)}, "boxes: expected shape"),
        ({"pairs": torch.zeros(3, dtype=torch.long)}, "pairs: expected shape"),
    ],
)
def test_wrong_shapes_are_refused(changes, message):
    """One line that names argument, expectation and value."""
    with pytest.raises(ValueError, match=message):
        switch_instances(**{**tensors(switchable(scene(0))), **changes})
