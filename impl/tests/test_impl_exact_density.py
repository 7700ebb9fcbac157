"""The exact density a few examples at a time is that of all at once."""

import pytest
import torch

from steelyard.impl import slices
from steelyard.impl.soft_sampling import exact_density
from steelyard.impl.soft_sampling.exact_density import (
    BLOCKS_OF_HALVES,
    RUNS,
    inverse_density_of,
    sum_with_density,
    with_density,
)
from steelyard.impl.soft_sampling.gradient_density import inverse_density

EPSILON = 0.125


def _norms(dtype, shape=(3, 41, 5)):
    """Norms in sixteenths and tiny ones, so that there are ties and window ends meet norms; some not a number."""
    generator = torch.Generator().manual_seed(0)
    norms = torch.randint(0, 17, shape, generator=generator).to(dtype) / 16
    norms = torch.where(torch.rand(shape, generator=generator) < 0.3, torch.finfo(dtype).tiny, norms)
    norms[torch.rand(shape, generator=generator) < 0.1] = torch.nan
    return norms, torch.rand(shape, generator=generator) < 0.8


def _few_at_a_time(monkeypatch, norms, valid):
    monkeypatch.setattr(slices, "SMALL", 8)
    return inverse_density_of(lambda g, _: g, (norms, valid), (norms, valid), dtype=norms.dtype, epsilon=EPSILON)


@pytest.mark.parametrize("dtype", [torch.float32, torch.float64], ids=str)
@pytest.mark.parametrize("shape", [(3, 41, 5), (2, RUNS - 3, 4), (1000,)], ids=str)
def test_a_few_at_a_time_are_all_at_once(monkeypatch, dtype, shape):
    """To the last bit: both count. Also where there are fewer rows than runs."""
    norms, valid = _norms(dtype, shape)
    expected, counted = inverse_density(norms, valid, EPSILON)

    actual = _few_at_a_time(monkeypatch, norms, valid)

    assert 0 < counted.sum() < counted.numel()
    torch.testing.assert_close(actual, expected, rtol=0, atol=0)


def test_order_of_the_axes_in_memory_does_not_matter(monkeypatch):
    """Neither for the norms nor for the mask."""
    norms, valid = _norms(torch.float32)
    expected, _ = inverse_density(norms, valid, EPSILON)

    actual = _few_at_a_time(monkeypatch, norms.transpose(0, 2).contiguous().transpose(0, 2), valid)

    torch.testing.assert_close(actual, expected, rtol=0, atol=0)


@pytest.mark.parametrize("blocks", [1, 3, BLOCKS_OF_HALVES])
def test_a_few_windows_at_a_time_are_all_at_once(monkeypatch, blocks):
    """Half precision: every example has the density among all, also where the windows of a few are filled at a time."""
    norms, valid = _norms(torch.float32)
    norms = norms.to(torch.float16)
    expected, counted = inverse_density(norms.float(), valid, EPSILON)
    monkeypatch.setattr(slices, "SMALL", 8)
    monkeypatch.setattr(exact_density, "BLOCKS_OF_HALVES", blocks)

    def density(g, valid, upstream, inverse):
        return torch.where(valid & ~g.isnan(), inverse * upstream, 0.0)

    upstream = torch.full(norms.shape, 2.0)
    options = {"dtype": torch.float32, "epsilon": EPSILON}
    actual = with_density(density, lambda g, _: g.float(), norms, valid, others=(upstream,), **options)
    total = sum_with_density(lambda _, __, inverse: inverse, lambda g, _: g.float(), norms, valid, **options)

    assert 0 < counted.sum() < counted.numel()
    torch.testing.assert_close(actual, torch.where(counted, 2.0 * expected, 0.0), rtol=0, atol=0)
    torch.testing.assert_close(total, expected.sum())


def test_vmap_takes_each_batch_for_itself(monkeypatch):
    """The counts of one mini-batch do not mix with those of another."""
    norms, valid = _norms(torch.float32)
    expected = torch.stack([inverse_density(n, v, EPSILON)[0] for n, v in zip(norms, valid, strict=True)])

    actual = torch.func.vmap(lambda n, v: _few_at_a_time(monkeypatch, n, v))(norms, valid)

    torch.testing.assert_close(actual, expected, rtol=0, atol=0)
