"""Random sampling of batches: the specification's sample, bit for bit, or by its law; without looking at a value."""

from math import comb

import numpy as np
import pytest
import torch
from scipy.stats import chi2

from steelyard.impl import cpu_operators, random_sampling
from steelyard.impl.hard_sampling import (
    keyed_draws,
    samples_in_rows,
    selection_by_digits,
    selection_in_rows,
    uniform_draws,
)
from steelyard.reference import random_sampling as specified


@pytest.mark.parametrize("seed", range(20))
@pytest.mark.usefixtures("either_way")
def test_same_sample_as_specified(seed):
    """Random labels with ignored ones, few different keys, all kinds of quota."""
    random = np.random.default_rng(seed)
    labels = random.integers(-1, 4, (3, int(random.integers(0, 40))))
    keys = random.integers(0, 16, labels.shape) / 16
    options = {
        "num_classes": 3, "num_samples": int(random.integers(1, 20)),
        "positive_fraction": float(random.choice([0.0, 0.25, 0.29, 1.0])),
        "negatives_per_positive": [None, 0.0, 2.5][random.integers(3)],
    }  # fmt: skip

    sample = random_sampling(torch.from_numpy(labels), torch.from_numpy(keys), **options)

    expected = specified(labels, keys, **options)
    np.testing.assert_array_equal(sample.positive.numpy(), expected.positive)
    np.testing.assert_array_equal(sample.negative.numpy(), expected.negative)


@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
@pytest.mark.parametrize("seed", range(30))
def test_lowest_by_rows_by_digits_and_within_a_limit(seed, dtype):
    """The same members, ties at the border, infinite values and zeros of both signs among them."""
    random = np.random.default_rng(seed)
    limit, length = int(random.integers(1, 5)), int(random.integers(1, selection_in_rows.AT_A_TIME))
    low, high = [(0, 2), (-20, 20), (-1, 10_000)][seed % 3]
    values = torch.from_numpy(random.integers(low, high, (3, length)) / 10_000).to(dtype)
    values[:, ::7] = -0.0
    values[:, ::5] = torch.inf
    group = torch.from_numpy(random.random((3, length)) < [0.02, 0.5, 1.0][seed // 3 % 3])
    number = torch.from_numpy(random.integers(0, limit + 1, (3, 1)))

    by_rows = selection_in_rows.lowest_in_rows(values, group, number)

    assert torch.equal(by_rows, selection_by_digits.lowest_by_digits(values, group, number))
    assert torch.equal(by_rows, keyed_draws.lowest_within(values, group, number, min(limit, length)))
    assert (by_rows.sum(dim=-1, keepdim=True) == number.minimum(group.sum(dim=-1, keepdim=True))).all()


WAYS = {
    "by keys": (samples_in_rows, "SHORT", samples_in_rows.SHORT),
    "by ranks of one row after the other": (samples_in_rows, "SHORT", 0),
    "on a GPU, by ranks of all": (uniform_draws, "FEW", uniform_draws.FEW),
    "on a GPU, by blocks": (uniform_draws, "FEW", 0),
}


@pytest.mark.parametrize("way", WAYS)
@pytest.mark.parametrize(
    ("positives", "negatives", "num_samples", "fraction"),
    [(3, 5, 4, 0.5), (6, 7, 8, 1.0), (7, 9, 7, 0.6), (0, 5, 5, 0.5), (4, 0, 3, 1.0), (2, 18, 3, 0.0), (18, 2, 3, 1.0)],
)
def test_without_keys_any_subset_has_one_probability(positives, negatives, num_samples, fraction, way, monkeypatch):
    """All subsets of the right size come, equally often: chi-squared at 1e-6, 20,000 draws, one seed."""
    monkeypatch.setattr(*WAYS[way])
    if way.startswith("on a GPU"):
        monkeypatch.setattr(cpu_operators, "used_for", lambda _: False)
    torch.manual_seed(0)
    labels = torch.tensor([0] * positives + [2] * negatives + [-1] * 70)[torch.randperm(positives + negatives + 70)]
    options = {"num_samples": num_samples, "positive_fraction": fraction}

    sample = random_sampling(labels.expand(20_000, -1), num_classes=2, **options)

    drawn = min(positives, int(num_samples * fraction))
    groups = (sample.positive, labels == 0, drawn), (sample.negative, labels == 2, min(negatives, num_samples - drawn))
    for chosen, group, number in groups:
        assert not chosen[:, ~group].any()
        assert (chosen.sum(dim=-1) == number).all()
        subsets = comb(int(group.sum()), number)
        if subsets == 1:
            continue
        _, times = chosen[:, group].unique(dim=0, return_counts=True)
        assert len(times) == subsets
        expected = 20_000 / subsets
        assert ((times - expected) ** 2 / expected).sum() < chi2.isf(1e-6, subsets - 1)


class _Bits:
    """A generator that gives the same bits all over in its first answer."""

    def __init__(self):
        self.answers = 0
        self.bit_generator = self

    def random_raw(self, number):
        self.answers += 1
        one_key = np.full(number, 6 * (2**32 + 1), dtype=np.uint64)
        return one_key if self.answers == 1 else np.random.SFC64(0).random_raw(number)


def test_without_keys_equal_ones_at_the_border_are_drawn_anew():
    """All have one key at first, so that places would decide; the rows stay as they were until keys do."""
    labels = np.array([[0, 2, 2, 2, -1, 0, 0]])
    positive, negative = labels == 0, labels == 2
    rows = samples_in_rows._Rows(slice(1), positive, negative, np.array([3]), np.array([1]), np.array([2]))
    random = _Bits()

    assert not samples_in_rows._kept_by_keys(random, rows)
    assert (positive.sum(), negative.sum()) == (3, 3)
    assert samples_in_rows._kept_by_keys(random, rows)
    assert (positive.sum(), negative.sum()) == (1, 2)


@pytest.mark.usefixtures("either_way")
def test_without_keys_runs_without_data_and_compiles():
    """meta device, fullgraph, vmap, no candidate at all: right numbers, by ranks and by blocks."""
    torch.compiler.reset()
    for length in (50, 5000, 0):
        labels = torch.randint(-1, 4, (2, length), generator=torch.Generator().manual_seed(0))

        def sample(labels):
            return random_sampling(labels, num_classes=3, num_samples=16)

        assert sample(labels.to("meta")).negative.shape == labels.shape
        ways = sample(labels), torch.compile(sample, fullgraph=True, backend="aot_eager")(labels)
        for positive, negative in (*ways, torch.func.vmap(sample, randomness="different")(labels)):
            assert positive.sum(dim=-1).tolist() == [8 if length else 0] * 2
            assert negative.sum(dim=-1).tolist() == [8 if length else 0] * 2
            assert not (positive & ~((labels >= 0) & (labels < 3))).any()
            assert not (negative & (labels != 3)).any()


def test_without_keys_each_call_draws_anew():
    """Also two calls with the same labels in one graph; by one seed the same; mapped, as vmap's `randomness` says."""
    labels = torch.zeros(2, 300, dtype=torch.int64)

    def draw(labels):
        return random_sampling(labels, num_classes=3, num_samples=100).positive

    def twice(labels):
        return draw(labels), draw(labels)

    for function in (twice, torch.compile(twice, fullgraph=True, backend="aot_eager")):
        torch.manual_seed(0)
        one, other = function(labels)
        torch.manual_seed(0)
        assert torch.equal(one, function(labels)[0])
        assert not torch.equal(one, other)
        assert not torch.equal(one[0], one[1])
    assert not torch.equal(*torch.func.vmap(draw, randomness="different")(labels))
    assert torch.equal(*torch.func.vmap(draw, randomness="same")(labels))
    with pytest.raises(RuntimeError, match="randomness"):
        torch.func.vmap(draw)(labels)


def test_the_device_is_that_of_the_labels():
    """Not the one where tensors are made by default."""
    labels = torch.randint(-1, 4, (2, 300))

    with torch.device("meta"):
        sample = random_sampling(labels, num_classes=3, num_samples=8)

    assert sample.positive.sum(dim=-1).tolist() == sample.negative.sum(dim=-1).tolist() == [4, 4]


def test_labels_of_any_integers():
    """Unsigned ones have nothing to ignore."""
    labels = torch.randint(0, 4, (2, 300))
    ignored = torch.full((2, 300), -1, dtype=torch.int8)

    # more classes than the dtype counts
    assert not torch.stack(random_sampling(ignored, num_classes=300, num_samples=8)).any()
    for dtype in (torch.uint8, torch.int8, torch.int32):
        torch.manual_seed(1)
        sample = random_sampling(labels.to(dtype), num_classes=3, num_samples=8)
        torch.manual_seed(1)
        expected = random_sampling(labels, num_classes=3, num_samples=8)
        assert all(torch.equal(one, other) for one, other in zip(sample, expected, strict=True))


def test_runs_without_data_compiles_and_maps():
    """meta device, fullgraph, vmap: the shapes never depend on a value."""
    labels, keys = torch.randint(-1, 4, (2, 50)), torch.rand(2, 50)

    def sample(labels, keys):
        return random_sampling(labels, keys, num_classes=3, num_samples=16)

    assert sample(labels.to("meta"), keys.to("meta")).negative.shape == (2, 50)
    compiled = torch.compile(sample, fullgraph=True, backend="aot_eager")(labels, keys)
    for one, two, three in zip(sample(labels, keys), compiled, torch.func.vmap(sample)(labels, keys), strict=True):
        assert torch.equal(one, two)
        assert torch.equal(one, three)


@pytest.mark.parametrize(
    ("options", "message"),
    [({"num_samples": 0}, "num_samples"), ({"positive_fraction": -0.5}, "positive_fraction"),
     ({"negatives_per_positive": -1}, "negatives_per_positive")],
)  # fmt: skip
def test_bad_options_are_named(options, message):
    """Each refusal says which option."""
    with pytest.raises(ValueError, match=message):
        random_sampling(torch.zeros(3, dtype=torch.long), torch.zeros(3), num_classes=1, **options)
