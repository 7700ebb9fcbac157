"""Samplers for a DataLoader: balanced, complete over ranks, resumable in the middle of an epoch."""

from collections import Counter

import pytest
import torch
from torch.utils.data import DataLoader

from steelyard.impl import image_repeat_factors
from steelyard.impl.foreground_balance.data_set_samplers import ClassAwareSampler, RepeatFactorSampler

# six images of class 0, two of 0 and 1, one of all three, one without objects
LABELS = torch.tensor([[0, -1, -1]] * 6 + [[0, 1, -1]] * 2 + [[0, 1, 2], [-1, -1, -1]])
FACTORS = image_repeat_factors(LABELS, num_classes=3, threshold=0.5)


def make(kind, **options):
    if kind == "factors":
        return RepeatFactorSampler(FACTORS, **options)
    return ClassAwareSampler(LABELS, num_classes=3, **options)


KINDS = pytest.mark.parametrize("kind", ["factors", "classes"])


@KINDS
def test_a_data_loader_takes_it(kind):
    """With worker processes, in batches: the images of the sampler, in its order."""
    sampler = make(kind, seed=3)
    sampler.set_epoch(1)
    wanted = list(sampler)

    loader = DataLoader(torch.arange(10), batch_size=4, sampler=sampler, num_workers=1)

    assert torch.cat(list(loader)).tolist() == wanted
    assert len(sampler) == len(wanted)


@KINDS
@pytest.mark.parametrize("ranks", [1, 2, 3, 5])
def test_ranks_share_an_epoch_without_overlap_or_loss(kind, ranks):
    """Interleaved, the shards are the order of one process; without the uneven end all are equally long."""
    whole = list(make(kind))
    shards = [list(make(kind, rank=rank, num_ranks=ranks)) for rank in range(ranks)]

    assert [shards[place % ranks][place // ranks] for place in range(len(whole))] == whole
    assert sum(map(len, shards)) == len(whole)
    even = [list(make(kind, rank=rank, num_ranks=ranks, drop_uneven=True)) for rank in range(ranks)]
    assert {len(shard) for shard in even} == {len(whole) // ranks}


@KINDS
@pytest.mark.parametrize("ranks", [1, 2])
def test_resumes_in_the_middle_of_an_epoch(kind, ranks):
    """What one process did not get, another gets; also by a count of its own where workers ran ahead."""
    for rank in range(ranks):
        sampler = make(kind, rank=rank, num_ranks=ranks)
        sampler.set_epoch(4)
        stream = iter(sampler)
        begun = [next(stream) for _ in range(3)]
        state = sampler.state_dict()

        other = make(kind, rank=rank, num_ranks=ranks)
        other.load_state_dict(state)

        whole = list(sampler)
        assert begun + list(other) == whole
        other.load_state_dict(sampler.state_dict(consumed=1))
        assert list(other) == whole[1:]


@KINDS
def test_resumes_on_another_number_of_ranks(kind):
    """Two ranks had two images each: one process goes on with the fifth."""
    pair = [make(kind, rank=rank, num_ranks=2) for rank in range(2)]
    for sampler in pair:
        stream = iter(sampler)
        next(stream), next(stream)
    assert pair[0].state_dict() == pair[1].state_dict()

    alone = make(kind)
    whole = list(alone)
    alone.load_state_dict(pair[0].state_dict())
    assert list(alone) == whole[4:]


@KINDS
def test_epochs_and_seeds_differ_and_repeat(kind):
    """The same seed and epoch give the same order, anything else another one."""
    orders = {}
    for seed in (0, 1):
        for epoch in (0, 1):
            sampler = make(kind, seed=seed)
            sampler.set_epoch(epoch)
            orders[seed, epoch] = tuple(sampler)
            assert tuple(sampler) == orders[seed, epoch]
    assert len(set(orders.values())) == 4


def test_mean_repeats_are_the_factors():
    """Over 4,000 epochs; a false alarm of 5 standard deviations in ten images is 6e-6, for the fixed seed none."""
    sampler = make("factors")
    epochs = 4_000
    counts = Counter()
    for epoch in range(epochs):
        sampler.set_epoch(epoch)
        counts.update(sampler)

    part = FACTORS - FACTORS.floor()
    spread = (part * (1 - part) / epochs).sqrt()
    means = torch.tensor([counts[image] / epochs for image in range(10)], dtype=torch.float64)
    assert ((means - FACTORS).abs() <= 5 * spread).all()


def test_every_pass_has_each_class_once_and_every_cycle_each_image_once():
    """Of 30 draws in 10 passes, class 2 has its one image ten times, class 1 each of its three 3 or 4 times."""
    sampler = ClassAwareSampler(LABELS, num_classes=9, epoch_length=30)

    order = torch.tensor(list(sampler))

    assert 9 not in order.tolist(), "the image without objects"
    for part in order.unflatten(0, (10, 3)):
        rarest_first = sorted(part.tolist(), reverse=True)
        assert 8 in rarest_first
        assert sum(image >= 6 for image in rarest_first) >= 2
    expected = torch.tensor([10 / 9] * 6 + [10 / 9 + 10 / 3] * 2 + [10 / 9 + 10 / 3 + 10])
    counts = torch.bincount(order, minlength=9)
    assert ((counts - expected).abs() < 2).all(), "cycles: no image twice before all were drawn"


def test_several_images_of_a_class_in_turn():
    """Two a class and pass; the epoch is cut to its length."""
    sampler = ClassAwareSampler(LABELS[:8], num_classes=2, epoch_length=7, images_per_class=2)

    order = list(sampler)

    assert len(order) == len(sampler) == 7
    assert any(set(pair) == {6, 7} for pair in (order[:2], order[2:4])), "both images of class 1 in the first pass"


@pytest.mark.parametrize(
    ("call", "message"),
    [
        (lambda: RepeatFactorSampler(torch.tensor([0.5])), "repeat_factors: expected"),
        (lambda: RepeatFactorSampler(torch.tensor([[1.0]])), "repeat_factors: expected"),
        (lambda: RepeatFactorSampler(FACTORS, rank=2, num_ranks=2), "rank: expected an int below"),
        (lambda: RepeatFactorSampler(FACTORS, seed=-1), "seed"),
        (lambda: ClassAwareSampler(LABELS[0], num_classes=3), "labels: expected shape"),
        (lambda: ClassAwareSampler(LABELS, num_classes=2), "labels: expected classes below"),
        (lambda: ClassAwareSampler(LABELS[-1:], num_classes=2), "labels: expected an object"),
        (lambda: make("factors").load_state_dict({"seed": 1, "epoch": 0, "place": 0}), "state: expected seed 0"),
    ],
)
def test_bad_input_is_refused(call, message):
    """Each error names the argument."""
    with pytest.raises(ValueError, match=message):
        call()
