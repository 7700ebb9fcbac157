"""Bootstrapping: worked numbers, its certificate with real classifiers, what breaks it, distribution, errors."""

from itertools import permutations
from types import SimpleNamespace

import numpy as np
import pytest
import torch

from steelyard.conformance.real_data import dense_image
from steelyard.reference import SpecError, bootstrapping, mine_false_positives, mine_random_false_positives

POSITIVES = np.array([4.0, 5.0])
POOL = np.array([0.0, 1.0, 2.0, 2.5, 3.0, 3.5])


def midpoint(positives, negatives):
    return (positives.mean() + negatives.mean()) / 2


def above(boundary, samples):
    return samples - boundary


@pytest.mark.parametrize(
    ("cap", "boundary", "negatives", "found"), [(2, 10 / 3, [0.0, 3.0, 3.5], [3, 0]), (1, 3.125, [0.0, 3.5], [3, 0])]
)
def test_worked_numbers(cap, boundary, negatives, found):
    """A boundary half-way between the means: 2.25 with the seed 0, then with what one round adds."""
    result = bootstrapping(midpoint, above, POSITIVES, POOL, [0], max_new=cap)

    assert result.model == pytest.approx(boundary, rel=1e-15)
    assert POOL[result.negatives].tolist() == negatives
    assert [mined.num_false_positives for mined in result.rounds] == found
    assert result.converged


def test_no_false_positive_in_the_first_round():
    """The seed's classifier, after one round."""
    result = bootstrapping(midpoint, above, POSITIVES, POOL, [5])

    assert result.model == midpoint(POSITIVES, POOL[5:])
    assert len(result.rounds) == 1
    assert result.converged


@pytest.fixture(scope="module")
def real():
    """Points of three photographs: class and distance logits of a detector as features; background is the pool."""
    images = [dense_image(number) for number in range(3)]
    features = np.concatenate([np.hstack([i.class_logits, i.distance_logits.reshape(2100, -1)]) for i in images])
    features = (features - features.mean(axis=0)) / features.std(axis=0)
    features = np.hstack([features, np.ones((len(features), 1))])
    background = np.concatenate([i.labels for i in images]) == 80
    return SimpleNamespace(positives=features[~background], pool=features[background])


def linear_machine(positives, negatives, strength=1e-2):
    """Linear support vector machine (squared hinge) by Newton's method, to the last digits."""
    x = torch.from_numpy(np.vstack([positives, negatives]))
    y = torch.cat([torch.ones(len(positives)), -torch.ones(len(negatives))]).double()
    weights = torch.zeros(x.shape[1], dtype=torch.float64)
    active = torch.ones_like(y, dtype=torch.bool)
    for _ in range(100):
        inside = x[active]
        # the sum, not the mean: a negative without loss changes nothing
        system = inside.T @ inside + strength * torch.eye(x.shape[1], dtype=torch.float64)
        target = torch.linalg.solve(system, inside.T @ y[active])
        weights = line_search(x, y, weights, target, strength)
        now = y * (x @ weights) < 1
        if torch.equal(weights, target) and torch.equal(now, active):
            break
        active = now
    return weights


def line_search(x, y, old, new, strength):
    def objective(w):
        return ((1 - y * (x @ w)).clamp(min=0) ** 2).sum() + strength * (w**2).sum()

    step = 1.0
    while step > 1e-6 and objective(old + step * (new - old)) > objective(old):
        step /= 2
    return new if step == 1.0 else old + step * (new - old)


def linear_score(weights, samples):
    return (torch.from_numpy(samples) @ weights).numpy()


def test_false_positives_of_a_real_classifier_are_mined_away(real):
    """A linear machine over real candidates: fewer false positives by round, and none left but negatives at the end."""
    seed = np.arange(0, len(real.pool), 100)

    result = bootstrapping(linear_machine, linear_score, real.positives, real.pool, seed, max_new=250)

    found = [mined.num_false_positives for mined in result.rounds]
    scores = linear_score(result.model, real.pool)
    assert found[0] > 100
    assert found == sorted(found, reverse=True)
    assert found[-1] == 0
    assert result.converged
    assert not mine_false_positives(scores, result.negatives).any()
    assert torch.equal(result.model, linear_machine(real.positives, real.pool[result.negatives]))


def test_the_cache_of_a_support_vector_machine_finds_the_answer_of_the_whole_pool(real):
    """R-CNN's thresholds, just outside the margin: what is left out has no loss, so nothing is lost by it."""
    seed = np.arange(0, len(real.pool), 50)

    result = bootstrapping(
        linear_machine, linear_score, real.positives, real.pool, seed, add_threshold=-1.0001, evict_threshold=-1.2
    )

    whole = linear_machine(real.positives, real.pool)
    assert result.converged
    assert result.negatives.sum() < len(real.pool) / 2
    assert any(mined.evicted.size for mined in result.rounds)
    np.testing.assert_allclose(result.model, whole, atol=1e-9)


def test_the_certificate_catches_a_stale_classifier():
    """Scores of the seed's classifier for ever: what it calls convergence, the trained one does not certify."""
    stale = midpoint(POSITIVES, POOL[:1])

    result = bootstrapping(midpoint, lambda _, samples: samples - stale, POSITIVES, POOL, [0], max_new=1, max_rounds=2)

    assert not result.converged
    assert mine_false_positives(POOL - stale, result.negatives).any()


@pytest.mark.parametrize("order", list(permutations(range(6)))[::97])
def test_without_a_cap_the_order_of_the_pool_means_nothing(order):
    """The same negatives and the same boundary."""
    expected = bootstrapping(midpoint, above, POSITIVES, POOL, [0])

    result = bootstrapping(midpoint, above, POSITIVES, POOL[list(order)], [order.index(0)])

    assert sorted(POOL[list(order)][result.negatives]) == sorted(POOL[expected.negatives])
    assert result.model == pytest.approx(expected.model, rel=1e-15)


def test_negatives_are_added_once_and_positives_stay():
    """Without eviction the negatives only grow; with it, easy ones leave, and every training sees all positives."""
    grown = bootstrapping(midpoint, above, POSITIVES, POOL, [0], max_new=1, add_threshold=-1.0)
    added = np.concatenate([mined.added for mined in grown.rounds])
    num_positives = set()

    def counting(positives, negatives):
        num_positives.add(len(positives))
        return midpoint(positives, negatives)

    shrunk = bootstrapping(counting, above, POSITIVES, POOL, [0], add_threshold=-1.0, evict_threshold=-1.5)

    assert added.size == np.unique(added).size == grown.negatives.sum() - 1
    assert num_positives == {2}
    assert 0 in shrunk.rounds[0].evicted
    assert not shrunk.negatives[0]


def test_an_evicted_negative_may_return():
    """A classifier that is its negatives: 0 is easy once 1 is known, and a false positive again once 2 is."""
    scores = {(0,): [0, 1, -1], (0, 1): [-2, 0, 1], (1, 2): [1, 0, 0], (0, 1, 2): [0, 0, 0]}

    result = bootstrapping(
        lambda _, negatives: tuple(negatives),
        lambda model, samples: np.array([scores[model][i] for i in samples]),
        POSITIVES, np.arange(3), [0], evict_threshold=-1.0,
    )  # fmt: skip

    assert [mined.added.tolist() for mined in result.rounds] == [[1], [2], [0], []]
    assert [mined.evicted.tolist() for mined in result.rounds] == [[0], [], [], []]


def test_rounds_end():
    """The most rounds that were asked for, without a claim of convergence."""
    result = bootstrapping(midpoint, above, POSITIVES, POOL, [0], max_new=1, add_threshold=-1.0, max_rounds=2)

    assert len(result.rounds) == 2
    assert not result.converged


def test_random_false_positives_by_enumeration():
    """Over all orders of the keys: every pair of the four false positives equally often, nothing else ever."""
    scores, held = np.array([1.0, 2.0, -1.0, 3.0, 1.5, 9.0]), np.array([0, 0, 0, 0, 0, 1])
    drawn = [
        tuple(np.flatnonzero(mine_random_false_positives(scores, held, np.array(order) / 6, max_new=2)))
        for order in permutations(range(6))
    ]

    counts = {subset: drawn.count(subset) for subset in set(drawn)}

    assert counts == dict.fromkeys([(0, 1), (0, 3), (0, 4), (1, 3), (1, 4), (3, 4)], 120)


def test_keys_choose_at_random_in_every_round():
    """With keys a round draws by them instead of taking the hardest."""
    keys = np.tile([0.9, 0.8, 0.7, 0.1, 0.6, 0.5], (100, 1))

    result = bootstrapping(midpoint, above, POSITIVES, POOL, [0], max_new=1, keys=keys)

    assert result.rounds[0].added.tolist() == [3]


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"positives": np.zeros(0)}, "positives: expected at least one"),
        ({"seed": [6]}, "seed: expected integers in"),
        ({"evict_threshold": 0.5}, r"evict_threshold: expected at most 0\.0"),
        ({"max_new": 0}, "max_new: expected an int >= 1"),
        ({"max_rounds": 0}, "max_rounds: expected an int >= 1"),
        ({"keys": np.zeros((1, 6))}, r"keys: expected shape \(100, 6\)"),
        ({"keys": np.full((100, 6), 1.0), "max_new": 1}, r"keys: expected numbers in \[0, 1\)"),
        ({"score": lambda _, samples: samples * np.nan}, "scores: expected numbers, got NaN"),
        ({"score": lambda _, samples: samples[1:]}, r"score: expected shape \(6,\)"),
    ],
)
def test_errors_name_argument_expectation_and_value(change, message):
    """Each refusal says what was wrong."""
    arguments = {"fit": midpoint, "score": above, "positives": POSITIVES, "pool": POOL, "seed": [0], **change}

    with pytest.raises(SpecError, match=message):
        bootstrapping(**arguments)
