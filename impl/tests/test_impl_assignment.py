"""Assignment: agreement with the specification image by image, padding, and the promise about memory."""

import weakref

import numpy as np
import pytest
import torch
from torch.utils._python_dispatch import TorchDispatchMode

from steelyard.impl.detection import assignment
from steelyard.impl.detection.anchor_designs import retinanet_anchors
from steelyard.impl.detection.assignment import (
    OBJECTS_AT_A_TIME,
    PAIRS_AT_A_TIME,
    max_iou_assignment,
    max_iou_matching,
)
from steelyard.impl.detection.box_overlaps import pairwise_iou
from steelyard.reference.detection import assignment as reference

RULES = [
    {},
    {"foreground_iou": 0.7, "background_iou": 0.3, "low_quality": "keep"},
    {"foreground_iou": 0.7, "background_iou": 0.3, "low_quality": "overwrite_last"},
    {"low_quality": "keep", "minimum_low_quality_iou": 0.35},
    {"foreground_iou": 1, "background_iou": 0},
]


def _agree(actual, expected):
    for field, values in actual._asdict().items():
        np.testing.assert_array_equal(values.numpy(), getattr(expected, field), err_msg=field)


def _scene(images, candidates, objects, seed, dtype=torch.float64):
    """Boxes on a grid of halves: many equal IoUs, IoUs on a threshold, objects without any overlap, padding."""
    generator = torch.Generator().manual_seed(seed)

    def boxes(n):
        corner = torch.randint(0, 16, (images, n, 2), generator=generator)
        return torch.cat([corner, corner + torch.randint(0, 9, (images, n, 2), generator=generator)], dim=-1) / 2

    labels = torch.randint(-1, 3, (images, objects), generator=generator)
    mask = torch.rand(images, candidates, generator=generator) < 0.8
    return boxes(candidates).to(dtype), boxes(objects).to(dtype), labels, mask


@pytest.mark.parametrize("rule", RULES)
@pytest.mark.parametrize("objects", [0, 1, 5, 2 * OBJECTS_AT_A_TIME + 3])
def test_agrees_with_the_specification(rule, objects):
    """Bit for bit in float64, every image of a batch by itself, with and without masked candidates."""
    boxes, gt, labels, mask = _scene(4, 60, objects, seed=objects)
    labels[-1] = -1  # an image without objects

    for candidate_mask in (None, mask):
        actual = max_iou_assignment(boxes, gt, labels, num_classes=3, candidate_mask=candidate_mask, **rule)
        for b in range(4):
            expected = reference.max_iou_assignment(
                boxes[b].numpy(), gt[b].numpy(), labels[b].numpy(), num_classes=3,
                candidate_mask=None if candidate_mask is None else mask[b].numpy(), **rule,
            )  # fmt: skip
            _agree(type(actual)(*(field[b] for field in actual)), expected)


@pytest.mark.parametrize("rule", RULES)
def test_matching_agrees_with_the_specification(rule):
    """From a matrix of IoUs with ties, masked rows and masked columns."""
    generator = torch.Generator().manual_seed(7)
    values = torch.tensor([0.0, 0.1, 0.3, 0.35, 0.4, 0.5, 0.7, 1.0], dtype=torch.float64)
    iou = values[torch.randint(0, 8, (20, 6, 9), generator=generator)]
    gt_mask = torch.rand(20, 6, generator=generator) < 0.7
    candidate_mask = torch.rand(20, 9, generator=generator) < 0.7
    iou[3], gt_mask[4], candidate_mask[5] = 0.0, False, False

    actual = max_iou_matching(iou, gt_mask=gt_mask, candidate_mask=candidate_mask, **rule)

    for b in range(20):
        masks = {"gt_mask": gt_mask[b].numpy(), "candidate_mask": candidate_mask[b].numpy()}
        _agree(type(actual)(*(f[b] for f in actual)), reference.max_iou_matching(iou[b].numpy(), **masks, **rule))


@pytest.mark.parametrize("dtype", [torch.float32, torch.float16, torch.bfloat16])
def test_lower_precisions(dtype):
    """Coordinates that the dtype holds exactly; IoUs are float32, and no threshold is near."""
    boxes, gt, labels, _ = _scene(1, 200, 6, seed=3, dtype=dtype)
    rule = {"foreground_iou": 0.5003, "background_iou": 0.2997}

    actual = max_iou_assignment(boxes[0], gt[0], labels[0], num_classes=3, **rule)

    expected = reference.max_iou_assignment(
        boxes[0].double().numpy(), gt[0].double().numpy(), labels[0], num_classes=3, **rule
    )
    assert actual.max_iou.dtype == torch.float32
    np.testing.assert_array_equal(actual.labels, expected.labels)
    np.testing.assert_allclose(actual.max_iou, expected.max_iou, rtol=1e-6)


def test_ignore_regions_agree_with_the_specification():
    """More regions than are taken at a time, empty ones among them."""
    boxes, gt, labels, _ = _scene(3, 60, 4, seed=11)
    regions = _scene(3, 1, OBJECTS_AT_A_TIME + 2, seed=12)[1]
    regions[:, 0] = 0

    actual = max_iou_assignment(boxes, gt, labels, num_classes=3, ignore_regions=regions, ignore_threshold=0.5)

    assert (actual.state == -1).any()
    for b in range(3):
        expected = reference.max_iou_assignment(
            boxes[b].numpy(), gt[b].numpy(), labels[b].numpy(), num_classes=3, ignore_regions=regions[b].numpy(),
            ignore_threshold=0.5,
        )  # fmt: skip
        _agree(type(actual)(*(field[b] for field in actual)), expected)


def test_an_object_that_overlaps_nothing_claims_nothing():
    """A point among the objects, with the low-quality rule."""
    iou = torch.tensor([[1, 0.5, 0], [0, 0, 0]])

    assert max_iou_matching(iou, low_quality="keep").state.tolist() == [1, 1, 0]
    assert max_iou_matching(iou, foreground_iou=0.7, low_quality="keep").state.tolist() == [1, -1, 0]


def test_padding_changes_nothing():
    """More rows of padding, whatever they hold, leave every answer as it is."""
    boxes, gt, labels, _ = _scene(2, 40, 5, seed=5)
    more = torch.cat([gt, boxes[:, :20]], dim=1)
    more_labels = torch.cat([labels, torch.full((2, 20), -1)], dim=1)

    for rule in RULES:
        one = max_iou_assignment(boxes, gt, labels, num_classes=3, **rule)
        other = max_iou_assignment(boxes, more, more_labels, num_classes=3, **rule)
        assert all(torch.equal(a, b) for a, b in zip(one, other, strict=True))


def test_shared_anchors():
    """One list of anchors for all images, and one list of objects for all lists of anchors."""
    boxes, gt, labels, _ = _scene(3, 40, 5, seed=6)

    shared = max_iou_assignment(boxes[0], gt, labels, num_classes=3, low_quality="keep")
    for b in range(3):
        alone = max_iou_assignment(boxes[0], gt[b], labels[b], num_classes=3, low_quality="keep")
        assert all(torch.equal(f[b], g) for f, g in zip(shared, alone, strict=True))
    other = max_iou_assignment(boxes, gt[0], labels[0], num_classes=3)
    assert torch.equal(other.labels[2], max_iou_assignment(boxes[2], gt[0], labels[0], num_classes=3).labels)


@pytest.mark.parametrize("at_a_time", [1, 100])
def test_images_a_few_at_a_time(at_a_time, monkeypatch):
    """One or two images at a time, of what has the batch axis and of what all share: what all give at once."""
    boxes, gt, labels, mask = _scene(5, 40, OBJECTS_AT_A_TIME + 2, seed=8)
    regions = _scene(5, 1, 3, seed=9)[1]
    rule = {"num_classes": 3, "low_quality": "overwrite_last"}
    ignoring = {"ignore_regions": regions, "ignore_threshold": 0.5}
    calls = [
        ((boxes, gt, labels), {"candidate_mask": mask, **ignoring}),
        ((boxes[0], gt, labels), ignoring),
        ((boxes, gt[0], labels[0]), {}),
        ((boxes[:1], gt, labels), {"ignore_regions": regions[0], "ignore_threshold": 0.5}),
        ((boxes.unsqueeze(1), gt[:4].unflatten(0, (1, 4)), labels[:4].unflatten(0, (1, 4))), {}),
    ]
    expected = [max_iou_assignment(*tensors, **rule, **options) for tensors, options in calls]

    monkeypatch.setattr(assignment, "CANDIDATES_AT_A_TIME", at_a_time)

    for whole, (tensors, options) in zip(expected, calls, strict=True):
        actual = max_iou_assignment(*tensors, **rule, **options)
        assert all(torch.equal(one, other) for one, other in zip(actual, whole, strict=True))


class _LiveBytes(TorchDispatchMode):
    """Largest number of bytes in tensors made under it, besides the given ones, that live at one time."""

    def __init__(self, *given):
        super().__init__()
        self.live, self.peak = 0, 0
        self.known = {tensor.untyped_storage()._cdata for tensor in given}

    def __torch_dispatch__(self, func, types, args=(), kwargs=None):
        result = func(*args, **(kwargs or {}))
        for tensor in result if isinstance(result, tuple | list) else (result,):
            storage = tensor.untyped_storage() if isinstance(tensor, torch.Tensor) else None
            if storage is not None and storage._cdata not in self.known:
                self.known.add(storage._cdata)
                self.live += storage.nbytes()
                self.peak = max(self.peak, self.live)
                weakref.finalize(storage, self._freed, storage._cdata, storage.nbytes())
        return result

    def _freed(self, key, size):
        self.live -= size
        self.known.discard(key)


def test_memory_does_not_grow_with_the_objects():
    """201,600 anchors: what is returned, half as much again, and a few megabytes that depend on no size."""
    anchors = retinanet_anchors(height=800, width=1333).boxes
    n, m = len(anchors), 100
    generator = torch.Generator().manual_seed(0)
    corner = torch.rand(m, 2, generator=generator) * 700
    gt, labels = torch.cat([corner, corner + 80], dim=1), torch.zeros(m, dtype=torch.int64)
    iou = pairwise_iou(gt, anchors)

    for low_quality in (None, "keep"):
        with _LiveBytes(anchors, gt, labels) as of_assignment:
            assigned = max_iou_assignment(anchors, gt, labels, num_classes=80, low_quality=low_quality)
        with _LiveBytes(iou) as of_matching:
            matched = max_iou_matching(iou, low_quality=low_quality)
        for memory, result in ((of_assignment, assigned), (of_matching, matched)):
            returned = sum(field.nbytes for field in result)
            claims = 0 if low_quality is None else 4 * n * -(-m // OBJECTS_AT_A_TIME)  # a float32 for each group
            assert memory.peak < 2.0 * returned + claims + 8 * 4 * PAIRS_AT_A_TIME, memory.peak / returned
            assert memory.peak < 0.3 * 4 * n * m


def test_memory_of_a_batch_is_that_of_its_result():
    """What is made of each candidate exists for one image: five times its result, and what depends on no size."""
    boxes, gt, labels, _ = _scene(16, 100_000, 20, seed=1, dtype=torch.float32)

    with _LiveBytes(boxes, gt, labels) as memory:
        assigned = max_iou_assignment(boxes, gt, labels, num_classes=3, low_quality="keep")

    returned = sum(field.nbytes for field in assigned)
    assert memory.peak < returned * (1 + 5 / 16) + 8 * 4 * PAIRS_AT_A_TIME, memory.peak / returned


def test_runs_without_data_and_compiles_whole():
    """On the meta device, under vmap, and as one graph."""
    boxes, gt, labels, mask = _scene(2, 30, OBJECTS_AT_A_TIME + 1, seed=9)
    options = {"num_classes": 3, "low_quality": "overwrite_last"}

    meta = max_iou_assignment(boxes.to("meta"), gt.to("meta"), labels.to("meta"), **options)
    expected = max_iou_assignment(boxes, gt, labels, candidate_mask=mask, **options)
    mapped = torch.func.vmap(lambda *a: tuple(max_iou_assignment(*a[:3], candidate_mask=a[3], **options)))(
        boxes, gt, labels, mask
    )
    compiled = torch.compile(max_iou_assignment, fullgraph=True, backend="aot_eager")(
        boxes, gt, labels, candidate_mask=mask, **options
    )

    assert meta.labels.shape == (2, 30)
    for one, two, three in zip(expected, mapped, compiled, strict=True):
        assert torch.equal(one, two)
        assert torch.equal(one, three)


def test_inputs_stay_as_they_are():
    """Nothing is written to; no candidate is no error."""
    boxes, gt, labels, mask = _scene(2, 30, 5, seed=4)
    copies = [t.clone() for t in (boxes, gt, labels, mask)]

    max_iou_assignment(boxes, gt, labels, num_classes=3, low_quality="keep", candidate_mask=mask)

    assert all(torch.equal(a, b) for a, b in zip((boxes, gt, labels, mask), copies, strict=True))
    assert max_iou_assignment(boxes[:, :0], gt, labels, num_classes=3).labels.shape == (2, 0)


def test_errors():
    """Shapes, thresholds and rules."""
    one = torch.zeros(1, 4)
    label = torch.zeros(1, dtype=torch.int64)
    for options in (
        {"foreground_iou": 1.5},
        {"background_iou": 0.6},
        {"low_quality": "all"},
        {"minimum_low_quality_iou": -1},
        {"ignore_threshold": 0.5},
        {"candidate_mask": torch.ones(2, dtype=torch.bool)},
    ):
        with pytest.raises(ValueError, match="expected"):
            max_iou_assignment(one, one, label, num_classes=3, **options)
    with pytest.raises(ValueError, match="gt_labels"):
        max_iou_assignment(one, one, torch.zeros(2, dtype=torch.int64), num_classes=3)
    with pytest.raises(ValueError, match="iou"):
        max_iou_matching(torch.zeros(3))
    assert assignment.LOW_QUALITY_RULES == reference.LOW_QUALITY_RULES
