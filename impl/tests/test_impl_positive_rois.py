"""The fast box generator and positive RoI generator against the reference."""

import numpy as np
import pytest
import torch

import steelyard.reference.generative.box_generator as box_oracle
import steelyard.reference.generative.feasible_region as region_oracle
import steelyard.reference.generative.positive_rois as oracle
from steelyard.impl.generative import box_generator, feasible_region, positive_rois

EDGES, WEIGHTS = torch.tensor([0.5, 0.6, 0.7, 0.8, 0.9, 1.0]), torch.tensor([0.73, 0.12, 0.15, 0.05, 0.0])
C = 3


def _generator_inputs(seed, shape=(2, 50), tries=24, dtype=torch.float64):
    generator = torch.Generator().manual_seed(seed)

    def keys(*size):
        return torch.rand(size, generator=generator, dtype=torch.float64).to(dtype)

    corner = 100 * keys(*shape, 2) - 20
    boxes = torch.cat([corner, corner + 1 + 50 * keys(*shape, 2)], dim=-1)
    return boxes, 0.3 + 0.65 * keys(*shape), keys(*shape), keys(*shape, tries, 2), keys(*shape, tries, 2)


def _batch(seed, n=16, objects=6, tries=16, dtype=torch.float64):
    shape = (4, n)
    generator = torch.Generator().manual_seed(seed)
    gt = _generator_inputs(seed, (4, objects), dtype=dtype)[0]
    labels = torch.randint(-1, C + 1, (4, objects), generator=generator)
    labels[3] = -1
    gt[0, 0, 2] = gt[0, 0, 0]
    _, _, coin, first, second = _generator_inputs(seed + 1, shape, tries, dtype)
    keys = torch.rand((4, 3 * n + objects), generator=generator, dtype=torch.float64).to(dtype)
    size = torch.tensor([[60.0, 70.0], [50.0, 200.0], [90.0, 90.0], [40.0, 40.0]], dtype=dtype)
    return (gt, labels, size, EDGES.to(dtype), WEIGHTS.to(dtype), keys[:, : n + objects],
            keys[:, n + objects : 2 * n + objects], keys[:, 2 * n + objects :], coin, first, second)  # fmt: skip


def _numpy(values):
    return [v.double().numpy() if v.is_floating_point() else v.numpy() for v in values]


@pytest.mark.parametrize("dtype", [torch.float64, torch.float32])
@pytest.mark.parametrize("tries", [24, 2, 0])
def test_boxes_are_those_of_the_reference(dtype, tries):
    """The same tries are accepted, also where there are too few of them."""
    inputs = _generator_inputs(tries, tries=tries, dtype=dtype)

    boxes, iou = box_generator.generate_boxes(*inputs)

    expected, expected_iou = box_oracle.generate_boxes(*_numpy(inputs))
    tolerance = {"rtol": 1e-6, "atol": 1e-5} if dtype == torch.float32 else {"rtol": 1e-12, "atol": 1e-11}
    torch.testing.assert_close(boxes.double(), torch.from_numpy(expected), **tolerance)
    torch.testing.assert_close(iou.double(), torch.from_numpy(expected_iou), **tolerance)
    assert (iou.double() >= inputs[1].double() - 1e-6).all()


def test_corners_and_limits_are_those_of_the_reference():
    """Best IoU of random corners, limits of those that are feasible."""
    corners = 1.4 * torch.rand((200, 2), generator=torch.Generator().manual_seed(1), dtype=torch.float64) - 0.7
    best = feasible_region.best_iou_of_corner(corners)
    np.testing.assert_allclose(best, region_oracle.best_iou_of_corner(corners), rtol=1e-13)

    limits = feasible_region.second_corner_limits(corners, 0.9 * best)
    np.testing.assert_allclose(limits, region_oracle.second_corner_limits(corners, 0.9 * best), rtol=1e-11, atol=1e-13)


@pytest.mark.parametrize("allocation", ["random", "quota"])
@pytest.mark.parametrize("seed", range(4))
def test_positive_rois_are_those_of_the_reference(seed, allocation):
    """Every output, in images with padded, degenerate and clipped objects and in one without any."""
    inputs = _batch(seed)
    before = [value.clone() for value in inputs]

    outputs = positive_rois.generate_positive_rois(*inputs, num_classes=C, allocation=allocation)

    expected = oracle.generate_positive_rois(*_numpy(inputs), num_classes=C, allocation=allocation)
    for actual, wanted in zip(outputs, expected, strict=True):
        np.testing.assert_allclose(actual.numpy(), wanted, rtol=1e-12, atol=1e-11)
    assert all(torch.equal(one, two) for one, two in zip(inputs, before, strict=True))


def test_images_without_an_object_and_without_boxes():
    """No object, an axis of no objects, no box asked for."""
    for n, objects in ((5, 0), (0, 3)):
        inputs = _batch(1, n, 3) if objects else _batch(1, n, 1)
        if not objects:
            inputs = (inputs[0][:, :0], inputs[1][:, :0], *inputs[2:5], inputs[5][:, :n], *inputs[6:])
        boxes, *_, labels = positive_rois.generate_positive_rois(*inputs, num_classes=C)
        assert boxes.shape == (4, n, 4)
        assert (boxes == 0).all()
        assert (labels == -1).all()


def test_runs_without_data_and_compiles_whole():
    """No value is looked at on the host, and no graph break."""

    def generate(*inputs):
        return positive_rois.generate_positive_rois(*inputs, num_classes=C, allocation="quota")

    inputs = _batch(2, 8, 4, 6)
    assert generate(*(value.to("meta") for value in inputs))[0].shape == (4, 8, 4)
    compiled = torch.compile(generate, fullgraph=True, backend="aot_eager")
    for one, two in zip(compiled(*inputs), generate(*inputs), strict=True):
        torch.testing.assert_close(one, two)


@pytest.mark.parametrize(
    ("change", "error", "message"),
    [
        ({0: torch.zeros(4, 6, 3)}, ValueError, "gt_boxes: expected shape"),
        ({1: torch.zeros(4, 6)}, TypeError, "gt_labels"),
        ({5: torch.zeros(4, 6)}, ValueError, "slot_keys: expected shape"),
        ({9: torch.zeros(4, 16, 2)}, ValueError, "first_keys: expected shape"),
        ({3: torch.zeros(2)}, ValueError, "bin_edges: expected shape"),
    ],
)
def test_bad_input_is_refused(change, error, message):
    """Shapes and dtypes: what needs no look at the data."""
    inputs = [change.get(place, value) for place, value in enumerate(_batch(3))]

    with pytest.raises(error, match=message):
        positive_rois.generate_positive_rois(*inputs, num_classes=C)
