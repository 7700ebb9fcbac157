"""The samplers of Libra R-CNN for batches: the specification's choice, bit for bit, without looking at a value."""

import numpy as np
import pytest
import torch

from steelyard.impl import instance_balanced_positives, iou_balanced_negatives
from steelyard.impl.hard_sampling.keyed_draws import rank_in_group
from steelyard.reference import instance_balanced_positives as specified_positives
from steelyard.reference import iou_balanced_negatives as specified_negatives


def image(random, size):
    """Labels with ignored ones, IoUs with many zeros and ties, few different keys."""
    shape = (3, size)
    labels = random.integers(-1, 4, shape)
    labels = np.where(random.random(shape) < 0.7, 3, labels)
    iou = np.where(random.random(shape) < 0.3, 0.0, random.integers(0, 32, shape) / 64)
    iou = np.where((labels >= 0) & (labels < 3), 0.5 + iou, iou)
    return labels, iou, random.integers(0, 12, 3), *(random.integers(0, 32, (2, *shape)) / 32)


@pytest.mark.parametrize("dtype", [torch.float64, torch.float32])
@pytest.mark.parametrize("seed", range(12))
@pytest.mark.usefixtures("either_way")
def test_same_negatives_as_specified(seed, dtype):
    """All kinds of floors and edges, with ties of keys and IoUs on the edges."""
    random = np.random.default_rng(seed)
    labels, iou, number, keys, fill_keys = image(random, int(random.integers(0, 40)))
    options = {
        "num_classes": 3, "num_bins": int(random.integers(1, 6)), "floor_fraction": [0.0, 0.3, 1.0][seed % 3],
        "floor_iou": [None, 0.0, 0.125, 0.1][seed % 4], "upper": ["all", "negatives", 0.5, 0.3][seed // 3],
    }  # fmt: skip

    drawn = iou_balanced_negatives(
        torch.from_numpy(labels), torch.from_numpy(iou).to(dtype), torch.from_numpy(number),
        torch.from_numpy(keys).to(dtype), torch.from_numpy(fill_keys).to(dtype), **options,
    )  # fmt: skip

    np.testing.assert_array_equal(drawn.numpy(), specified_negatives(labels, iou, number, keys, fill_keys, **options))


@pytest.mark.parametrize("edge", [0.1, 0.7])
def test_an_edge_between_two_numbers_of_the_format(edge):
    """The float32 next to 0.7 lies below it, that next to 0.1 above: the edge is what the specification says."""
    labels, number, keys = torch.tensor([1, 1]), torch.tensor(1), torch.tensor([0.25, 0.5])
    iou = torch.tensor([edge, 0.9], dtype=torch.float32)
    options = {"num_classes": 1, "num_bins": 1, "floor_iou": edge}

    drawn = iou_balanced_negatives(labels, iou, number, keys, keys, **options)

    expected = specified_negatives(labels, iou.double(), number, keys, keys, **options)
    assert drawn.tolist() == expected.tolist() == [edge == 0.1, edge == 0.7]


@pytest.mark.parametrize("seed", range(20))
@pytest.mark.usefixtures("either_way")
def test_same_positives_as_specified(seed):
    """Few and many objects; some are filled up, some dropped, some halves round to even."""
    random = np.random.default_rng(seed)
    shape = (3, int(random.integers(0, 40)))
    instances = random.integers(-1, 1 + seed % 7, shape)
    keys, fill_keys = random.integers(0, 32, (2, *shape)) / 32
    number = int(random.integers(0, 20))

    drawn = instance_balanced_positives(
        torch.from_numpy(instances), torch.from_numpy(keys), torch.from_numpy(fill_keys), num_positives=number
    )

    np.testing.assert_array_equal(drawn.numpy(), specified_positives(instances, keys, fill_keys, num_positives=number))


def test_ranks_in_groups():
    """By keys inside each group, of equal keys the first; of any number of axes."""
    groups = torch.tensor([[0, 5, 0, -1, 5, 0]])
    keys = torch.tensor([[0.5, 0.1, 0.5, 0.0, 0.0, 0.2]])

    assert rank_in_group(groups, keys).tolist() == [[1, 1, 2, 0, 0, 0]]
    assert rank_in_group(groups[0], keys[0]).tolist() == [1, 1, 2, 0, 0, 0]


def test_runs_without_data_compiles_and_maps():
    """meta device, fullgraph, vmap: the shapes never depend on a value."""
    labels, iou, number, keys, fill_keys = (
        torch.from_numpy(np.asarray(a)) for a in image(np.random.default_rng(0), 50)
    )

    def draw(labels, iou, number, keys, fill_keys):
        negatives = iou_balanced_negatives(labels, iou, number, keys, fill_keys, num_classes=3, floor_iou=0.0)
        return negatives, instance_balanced_positives(labels, keys, fill_keys, num_positives=5)

    arguments = (labels, iou, number, keys, fill_keys)
    assert [drawn.shape for drawn in draw(*(a.to("meta") for a in arguments))] == [(3, 50), (3, 50)]
    compiled = torch.compile(draw, fullgraph=True, backend="aot_eager")(*arguments)
    for one, two, three in zip(draw(*arguments), compiled, torch.func.vmap(draw)(*arguments), strict=True):
        assert torch.equal(one, two)
        assert torch.equal(one, three)


def test_any_layout_and_nothing_written():
    """Transposed inputs, and no write to any of them."""
    arguments = [torch.from_numpy(np.asarray(a)) for a in image(np.random.default_rng(1), 30)]
    turned = [a.T.contiguous().T if a.ndim == 2 else a for a in arguments]
    copies = [a.clone() for a in turned]

    drawn = iou_balanced_negatives(*turned, num_classes=3)

    assert torch.equal(drawn, iou_balanced_negatives(*arguments, num_classes=3))
    assert all(torch.equal(one, two) for one, two in zip(turned, copies, strict=True))


@pytest.mark.parametrize(
    ("options", "message"),
    [({"num_bins": 0}, "num_bins"), ({"floor_fraction": 1.5}, "floor_fraction"), ({"floor_iou": 1.0}, "floor_iou"),
     ({"upper": "positives"}, "upper"), ({"upper": 0.0}, "upper"), ({"num_classes": 0}, "num_classes")],
)  # fmt: skip
def test_bad_options_are_named(options, message):
    """Each refusal says which option."""
    labels, keys = torch.zeros(3, dtype=torch.long), torch.zeros(3)
    with pytest.raises(ValueError, match=message):
        iou_balanced_negatives(labels, keys, torch.tensor(1), keys, keys, **{"num_classes": 1, **options})


def test_bad_shapes_are_named():
    """One number of negatives an image; keys of one shape."""
    labels, keys = torch.zeros(3, dtype=torch.long), torch.zeros(3)
    with pytest.raises(ValueError, match="num_negatives: expected shape"):
        iou_balanced_negatives(labels, keys, torch.tensor([1]), keys, keys, num_classes=1)
    with pytest.raises(ValueError, match="fill_keys: expected shape"):
        instance_balanced_positives(labels, keys, keys[:2])
    with pytest.raises(ValueError, match="num_positives"):
        instance_balanced_positives(labels, keys, keys, num_positives=-1)
