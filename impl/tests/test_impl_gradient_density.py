"""Gradient density: agreement with the reference, and what only the implementation promises."""

import numpy as np
import pytest
import torch

from steelyard.impl.soft_sampling import gradient_density as impl
from steelyard.reference.soft_sampling import gradient_density as reference

DTYPES = {torch.float64: 1e-12, torch.float32: 2e-6, torch.float16: 2e-6, torch.bfloat16: 2e-6}


def _norms(seed, shape=(2, 40, 3), dtype=torch.float64):
    """Gradient norms crowded at both ends, as in a detector; ties in the half precisions."""
    generator = torch.Generator().manual_seed(seed)
    norms = torch.rand(shape, generator=generator, dtype=torch.float64)
    return norms.pow(3).where(norms < 0.8, 1 - norms.pow(9) / 50).to(dtype)


def _mask(seed, shape=(2, 40, 3)):
    return torch.rand(shape, generator=torch.Generator().manual_seed(seed + 100)) < 0.7


def _numpy(tensor):
    return tensor.double().numpy()


@pytest.mark.parametrize("dtype", DTYPES, ids=str)
@pytest.mark.parametrize("epsilon", [0.03, 0.5, 2.0])
def test_exact_density_is_the_reference(dtype, epsilon):
    """Two binary searches count what the loop counts."""
    for seed in range(3):
        norms, valid = _norms(seed, dtype=dtype), _mask(seed)

        density = impl.gradient_density(norms, valid, epsilon=epsilon)
        weights = impl.harmonizing_weights(norms, valid, epsilon=epsilon)

        expected = reference.gradient_density(_numpy(norms), valid, epsilon=epsilon)
        np.testing.assert_allclose(_numpy(density), expected, rtol=DTYPES[dtype])
        expected = reference.harmonizing_weights(_numpy(norms), valid, epsilon=epsilon)
        np.testing.assert_allclose(_numpy(weights), expected, rtol=DTYPES[dtype])


def test_exact_density_at_ties_and_window_edges():
    """Multiples of 1/64 with windows of a multiple of 1/32 meet the edges exactly, also in float32."""
    norms = torch.randint(0, 65, (200,), generator=torch.Generator().manual_seed(0)) / 64

    for half_width in range(1, 33):
        epsilon = half_width / 32
        density = impl.gradient_density(norms, epsilon=epsilon)

        expected = reference.gradient_density(norms.numpy(), epsilon=epsilon)
        np.testing.assert_allclose(density.numpy(), expected, rtol=1e-6)


def test_window_below_the_resolution_counts_duplicates():
    """g + epsilon / 2 rounds to g: the search must not lose the example itself."""
    density = impl.gradient_density(torch.tensor([0.5, 0.5, 0.75]), epsilon=1e-20)

    torch.testing.assert_close(density, torch.tensor([2e20, 2e20, 1e20]))


@pytest.mark.parametrize("dtype", DTYPES, ids=str)
@pytest.mark.parametrize("bins", [1, 10, 30])
def test_regions_and_counts_are_the_reference(dtype, bins):
    """The same integers."""
    norms, valid = _norms(1, dtype=dtype), _mask(1)

    index = impl.unit_region_index(norms, bins=bins)
    counts = impl.unit_region_counts(norms, valid, bins=bins)

    np.testing.assert_array_equal(index, reference.unit_region_index(_numpy(norms), bins=bins))
    np.testing.assert_array_equal(counts, reference.unit_region_counts(_numpy(norms), valid, bins=bins))
    assert index.dtype == counts.dtype == torch.int64


@pytest.mark.parametrize("dtype", [torch.float32, torch.float64], ids=str)
def test_edges_belong_to_the_region_above(dtype):
    """And their neighbours to that below; also where floor(g * bins) falls one short, as for 53/100 in float32."""
    for bins in range(1, 131):
        edges = torch.arange(bins + 1, dtype=dtype) / bins
        below = torch.nextafter(edges[1:], torch.zeros(()).to(dtype))

        assert impl.unit_region_index(edges, bins=bins).tolist() == [*range(bins), bins - 1]
        assert impl.unit_region_index(below, bins=bins).tolist() == [*range(bins)]


@pytest.mark.parametrize("bins", [10, 11])
def test_nan_is_in_some_region(bins):
    """So that a table of the regions can be asked: with 10 regions a product tells which, with 11 it does not."""
    regions = impl.unit_region_index(torch.full((20,), torch.nan), bins=bins)

    assert ((regions >= 0) & (regions < bins)).all()


@pytest.mark.parametrize("norm", reference.NORMS)
@pytest.mark.parametrize("ema", reference.MOVING_AVERAGES)
@pytest.mark.parametrize("momentum", [None, 0.0, 0.7])
def test_weights_and_state_are_the_reference(norm, ema, momentum):
    """Every dialect, over three mini-batches."""
    state, expected_state = None, None
    options = {"bins": 30, "norm": norm, "ema": ema, "momentum": momentum}

    for seed in range(3):
        norms, valid = _norms(seed), _mask(seed)
        result = impl.unit_region_weights(norms, valid, state, **options)
        expected = reference.unit_region_weights(norms.numpy(), valid, expected_state, **options)
        np.testing.assert_allclose(result.weights, expected.weights, rtol=1e-13)
        np.testing.assert_allclose(result.state, expected.state, rtol=1e-13)
        state, expected_state = result.state, expected.state


def test_moving_average_is_the_reference_and_pure():
    """State in, state out."""
    state, counts = torch.tensor([4.0, 4.0]), torch.tensor([8, 0])

    for ema in reference.MOVING_AVERAGES:
        actual = impl.moving_average_counts(state, counts, momentum=0.75, ema=ema)
        np.testing.assert_array_equal(actual, reference.moving_average_counts(state, counts, momentum=0.75, ema=ema))
    assert state.tolist() == [4.0, 4.0]


def test_half_state_becomes_float32():
    """A count beyond 65,504 must not overflow."""
    state = impl.moving_average_counts(torch.zeros(1).half(), torch.tensor([10**6]), momentum=0.5)

    assert (state.dtype, state.tolist()) == (torch.float32, [5e5])


def test_counts_beyond_the_integers_of_float32():
    """A float32 counter that adds 1 stops at 2^24."""
    norms = torch.full((2**24 + 5,), 0.05, dtype=torch.float16)

    assert impl.unit_region_counts(norms).tolist() == [2**24 + 5] + [0] * 9


def test_nan_and_ignored():
    """NaN is counted nowhere and keeps to itself; an ignored NaN is nothing."""
    norms = torch.tensor([0.05, torch.nan, 0.55, torch.nan])
    valid = torch.tensor([True, True, True, False])

    for actual, expected in (
        (impl.unit_region_weights(norms, valid).weights, reference.unit_region_weights(norms, valid).weights),
        (
            impl.harmonizing_weights(norms, valid, epsilon=0.1),
            reference.harmonizing_weights(norms, valid, epsilon=0.1),
        ),
        (impl.gradient_density(norms, valid, epsilon=0.1), reference.gradient_density(norms, valid, epsilon=0.1)),
    ):
        np.testing.assert_allclose(actual, expected, rtol=1e-6)
        assert actual.isnan().tolist() == [False, True, False, False]


def test_mean_terms_are_the_reference():
    """Ignored values, NaN even, are not in the terms."""
    values, weights = torch.tensor([2.0, 3.0, torch.nan]), torch.tensor([1.0, 0.5, 0.0])
    valid = torch.tensor([True, True, False])

    actual = impl.harmonized_mean_terms(values, weights, valid)

    np.testing.assert_array_equal(actual, reference.harmonized_mean_terms(values, weights, valid))
    assert impl.harmonized_mean_terms(values[:2], weights[:2]).tolist() == [1.0, 0.75]


def test_weights_are_constants_and_inputs_stay():
    """Density is measured, not optimised; nothing is written to."""
    norms, valid, state = _norms(0).requires_grad_(), _mask(0), torch.ones(10, requires_grad=True)
    before = norms.detach().clone()

    weights, new_state = impl.unit_region_weights(norms, valid, state, momentum=0.5)
    exact = impl.harmonizing_weights(norms, valid, epsilon=0.1)

    assert not any(tensor.requires_grad for tensor in (weights, new_state, exact))
    assert torch.equal(norms, before)
    assert state.tolist() == [1.0] * 10


def test_any_layout_and_no_element():
    """Non-contiguous, without axes, and empty."""
    norms = _norms(0)

    torch.testing.assert_close(
        impl.harmonizing_weights(norms.permute(2, 0, 1), epsilon=0.1),
        impl.harmonizing_weights(norms, epsilon=0.1).permute(2, 0, 1),
    )
    assert impl.unit_region_weights(torch.tensor(0.5)).weights.tolist() == 1.0
    assert impl.unit_region_weights(torch.zeros(0, 4)).weights.shape == (0, 4)
    assert impl.gradient_density(torch.zeros(0, 4), epsilon=0.1).shape == (0, 4)


def test_vmap_is_one_histogram_a_call():
    """Under vmap every image has its own density."""
    norms = _norms(0)

    for function in (
        lambda g: impl.unit_region_weights(g).weights,
        lambda g: impl.gradient_density(g, epsilon=0.1),
    ):
        torch.testing.assert_close(torch.vmap(function)(norms), torch.stack([function(g) for g in norms]))


def test_runs_without_data_and_compiles_whole():
    """No value is looked at on the host, no graph break."""

    def everything(norms, valid):
        weights, state = impl.unit_region_weights(norms, valid, momentum=0.5)
        return weights, state, impl.gradient_density(norms, valid, epsilon=0.1), impl.unit_region_index(norms)

    norms, valid = _norms(0), _mask(0)

    compiled = torch.compile(everything, fullgraph=True, backend="aot_eager")(norms, valid)

    expected = everything(norms, valid)
    torch.testing.assert_close(compiled, expected)
    without_data = everything(norms.to("meta"), valid.to("meta"))
    assert [tensor.shape for tensor in without_data] == [tensor.shape for tensor in expected]


@pytest.mark.parametrize(
    ("call", "error", "message"),
    [
        (lambda g: impl.gradient_density(g, epsilon=0.0), ValueError, "epsilon: expected a number > 0"),
        (lambda g: impl.gradient_density(g, epsilon=2.5), ValueError, "epsilon: expected a number in .0, 2."),
        (lambda g: impl.harmonizing_weights(g, g[:1] > 0, epsilon=0.1), ValueError, "valid: expected shape"),
        (lambda g: impl.unit_region_counts(g, g), TypeError, "valid: expected a bool or integer dtype"),
        (lambda g: impl.unit_region_counts(g, bins=0), ValueError, "bins: expected an int >= 1"),
        (lambda g: impl.unit_region_weights(g, norm="n"), ValueError, "norm: expected one of"),
        (lambda g: impl.unit_region_weights(g, ema="n"), ValueError, "ema: expected one of"),
        (lambda g: impl.unit_region_weights(g, momentum=1.0), ValueError, "momentum: expected a number in .0, 1."),
        (lambda g: impl.unit_region_weights(g, None, g), ValueError, "state: expected shape"),
        (lambda g: impl.moving_average_counts(g, g, momentum=0.5), TypeError, "counts: expected a bool or integer"),
        (lambda g: impl.unit_region_index(g.int()), TypeError, "gradient_norms: expected a floating dtype"),
        (lambda g: impl.harmonized_mean_terms(g, g[:1]), ValueError, "weights: expected shape"),
    ],
)
def test_bad_arguments_are_named(call, error, message):
    """Shapes, dtypes and Python numbers are checked."""
    with pytest.raises(error, match=message):
        call(torch.tensor([0.25, 0.5]))
