"""Samplers and mining: 16 images of a dense detector's anchors, and of the proposals of a second stage."""

from types import SimpleNamespace

import torch
from torch import Generator, Tensor

from steelyard.impl.benchmarks.case import Axes, Call, Case, Floor, Growth, Inputs, Peer, Result
from steelyard.impl.benchmarks.scenes import detector_logits
from steelyard.impl.hard_sampling.hard_negative_mining import ssd_confidence_loss
from steelyard.impl.hard_sampling.iou_balanced_sampling import iou_balanced_negatives
from steelyard.impl.hard_sampling.ohem import online_hard_example_mining, stratified_hard_example_mining
from steelyard.impl.hard_sampling.random_sampling import random_sampling

CLASSES = 80
ANCHORS = {"B": 16, "N": 170_000}
PROPOSALS = {"B": 16, "N": 2_000}
SAMPLE = {170_000: (256, 0.5), 2_000: (512, 0.25)}
"""What is drawn of anchors, and of proposals."""
OWN_NUMBERS = "each library draws its own random numbers; ours without keys where it can do without"


def _sample_size(candidates: int) -> tuple[int, float]:
    return SAMPLE.get(candidates, (256, 0.5))


def _candidates(axes: Axes, device: torch.device, generator: Generator) -> Inputs:
    """One anchor in a hundred ignored, 200 of an image positive, or a tenth of a few; IoUs, losses and boxes."""
    images, number = axes["B"], axes["N"]
    shape = images, number
    positives = min(200, number // 10 + 1)
    place = torch.rand(shape, generator=generator, device=device).argsort(dim=-1)
    classes = torch.randint(CLASSES, shape, generator=generator, device=device)
    labels = torch.where(place < positives, classes, torch.where(place < positives + number // 100, -1, CLASSES))
    low, high = (torch.rand(shape, generator=generator, device=device) for _ in range(2))
    corner = torch.rand((*shape, 2), generator=generator, device=device) * 600.0
    side = 20.0 + torch.rand((*shape, 2), generator=generator, device=device) * 200.0
    return {
        "labels": labels,
        "max_iou": torch.where(labels == CLASSES, 0.5 * low**6, 0.5 + 0.5 * high),
        "num_negatives": torch.full((images,), min(384, number // 2), device=device),
        "losses": torch.rand(shape, generator=generator, device=device),
        "boxes": torch.cat([corner, corner + side], dim=-1),
    }


def _default_boxes(axes: Axes, device: torch.device, generator: Generator) -> Inputs:
    shape = axes["B"], axes["N"]
    foreground = torch.rand(shape, generator=generator, device=device) < 0.005
    labels = torch.where(foreground, torch.randint(axes["C"], shape, generator=generator, device=device), axes["C"])
    return {"logits": detector_logits((*shape, axes["C"] + 1), device, generator), "labels": labels}


# --- ours ----------------------------------------------------------------------------------------------------------


def _random(labels: Tensor) -> tuple[Tensor, ...]:
    number, share = _sample_size(labels.shape[-1])
    return random_sampling(labels, num_classes=CLASSES, num_samples=number, positive_fraction=share)


def _iou_balanced(labels: Tensor, max_iou: Tensor, num_negatives: Tensor) -> Tensor:
    keys, fill_keys = torch.rand_like(max_iou), torch.rand_like(max_iou)
    return iou_balanced_negatives(labels, max_iou, num_negatives, keys, fill_keys, num_classes=CLASSES)


def _stratified(losses: Tensor, labels: Tensor) -> tuple[Tensor, ...]:
    return stratified_hard_example_mining(losses, labels, num_classes=CLASSES)


def _suppressed(boxes: Tensor, labels: Tensor, losses: Tensor) -> Tensor:
    return online_hard_example_mining(boxes, labels, losses, losses, num_classes=CLASSES)


# --- peers: positives of all images, then negatives, as masks or as indices ------------------------------------------


def _theirs(labels: Tensor) -> list[Tensor]:
    """1 for the foreground, 0 for the background, -1 for what is ignored; an image each."""
    return list(torch.where(labels == CLASSES, 0, torch.where(labels >= 0, 1, -1)))


def _torchvision_random(inputs: Inputs) -> Call:
    from torchvision.models.detection._utils import BalancedPositiveNegativeSampler  # noqa: PLC0415 - may be absent

    sampler = BalancedPositiveNegativeSampler(*_sample_size(inputs["labels"].shape[-1]))
    labels = _theirs(inputs["labels"])
    return lambda: sampler(labels)


def _mmdet_random(inputs: Inputs) -> Call:
    from mmdet.models.task_modules import AssignResult, RandomSampler  # noqa: PLC0415
    from mmengine.structures import InstanceData  # noqa: PLC0415

    sampler = RandomSampler(*_sample_size(inputs["labels"].shape[-1]), add_gt_as_proposals=False)
    own = list(inputs["labels"])
    assigned = [
        AssignResult(1, state, None, label) for state, label in zip(_theirs(inputs["labels"]), own, strict=True)
    ]
    boxes = list(inputs["boxes"])
    objects = [
        InstanceData(bboxes=box[:1], labels=torch.zeros(1, dtype=torch.int64, device=box.device)) for box in boxes
    ]
    priors = [InstanceData(priors=box) for box in boxes]

    def call() -> list[list[Tensor]]:
        found = [sampler.sample(*image) for image in zip(assigned, priors, objects, strict=True)]
        return [[image.pos_inds for image in found], [image.neg_inds for image in found]]

    return call


def _mmdet_iou_balanced(inputs: Inputs) -> Call:
    from mmdet.models.task_modules import AssignResult, IoUBalancedNegSampler  # noqa: PLC0415

    sampler = IoUBalancedNegSampler(num=512, pos_fraction=0.25, floor_thr=-1, floor_fraction=0, num_bins=3)
    images = zip(_theirs(inputs["labels"]), inputs["max_iou"], inputs["labels"], strict=True)
    assigned = [AssignResult(1, *image) for image in images]
    number = int(inputs["num_negatives"][0])
    return lambda: [sampler._sample_neg(image, number) for image in assigned]  # noqa: SLF001 - its part of `sample`


def _mmdet_stratified(inputs: Inputs) -> Call:
    from mmdet.models.task_modules import AssignResult, OHEMSampler  # noqa: PLC0415
    from mmengine.structures import InstanceData  # noqa: PLC0415

    # it asks a network for the losses of boxes: here a box carries the place of its candidate
    place = torch.arange(inputs["labels"].shape[-1], dtype=torch.float32, device=inputs["labels"].device)
    boxes = torch.stack([place, 0 * place, place + 1, 0 * place + 1], dim=-1)
    head = SimpleNamespace(num_classes=CLASSES, loss=lambda cls_score, **_: {"loss_cls": cls_score})
    images = []
    for state, label, loss in zip(_theirs(inputs["labels"]), inputs["labels"], inputs["losses"], strict=True):
        network = SimpleNamespace(
            bbox_head=head, _bbox_forward=lambda _, rois, loss=loss: {"cls_score": loss[rois[:, 1].long()]}
        )
        sampler = OHEMSampler(512, 0.25, network, add_gt_as_proposals=False)
        gt = InstanceData(bboxes=boxes[:1], labels=torch.zeros(1, dtype=torch.int64, device=boxes.device))
        images.append((sampler, AssignResult(1, state, None, label), InstanceData(priors=boxes), gt))

    def call() -> list[list[Tensor]]:
        found = [sampler.sample(*image, feats=None) for sampler, *image in images]
        return [[image.pos_inds for image in found], [image.neg_inds for image in found]]

    return call


def _monai_stratified(inputs: Inputs) -> Call:
    from monai.apps.detection.utils.hard_negative_sampler import HardNegativeSampler  # noqa: PLC0415

    sampler = HardNegativeSampler(512, 0.25, min_neg=0, pool_size=1)
    labels, losses = _theirs(inputs["labels"]), inputs["losses"].flatten()
    return lambda: sampler(labels, losses)


def _torchvision_ssd(inputs: Inputs) -> Call:
    from torchvision.models.detection._utils import BoxCoder  # noqa: PLC0415
    from torchvision.models.detection.ssd import SSD  # noqa: PLC0415

    logits, labels = inputs["logits"], inputs["labels"]
    images, candidates, channels = logits.shape
    boxes = torch.tensor([0.0, 0.0, 1.0, 1.0], device=logits.device).expand(candidates, 4)
    objects = [{"boxes": boxes[:1], "labels": torch.ones(1, dtype=torch.int64, device=logits.device)}] * images
    matched = list(torch.where(labels < channels - 1, 0, -1))
    head = SimpleNamespace(neg_to_pos_ratio=3.0, box_coder=BoxCoder((10.0, 10.0, 5.0, 5.0)))
    outputs = {"cls_logits": logits, "bbox_regression": torch.zeros((images, candidates, 4), device=logits.device)}
    return lambda: SSD.compute_loss(head, objects, outputs, [boxes] * images, matched)["classification"]


def _mmdet_ssd(inputs: Inputs) -> Call:
    from mmdet.models.dense_heads import SSDHead  # noqa: PLC0415

    logits, labels = inputs["logits"], inputs["labels"]
    background = logits.shape[-1] - 1
    config = {"neg_pos_ratio": 3, "smoothl1_beta": 1.0}
    head = SimpleNamespace(num_classes=background, train_cfg=config, reg_decoded_bbox=False)
    boxes, weights = (
        torch.zeros((labels.shape[-1], 4), device=logits.device),
        torch.ones_like(labels, dtype=torch.float32),
    )
    positives = (labels < background).sum().clamp(min=1)

    def call() -> Tensor:
        losses = [
            SSDHead.loss_by_feat_single(head, z, boxes, boxes, label, weight, boxes, boxes, positives)[0][0]
            for z, label, weight in zip(logits, labels, weights, strict=True)
        ]
        return torch.stack(losses).sum()

    return call


def _ssd_floor(inputs: Inputs) -> Call:
    logits, labels = inputs["logits"].detach(), inputs["labels"].unsqueeze(-1)
    of_anchor = torch.ones_like(logits[..., :1])

    def call() -> tuple[Tensor, Tensor]:
        shares = torch.log_softmax(logits, dim=-1)
        return shares.gather(-1, labels), shares.exp_().mul_(of_anchor)

    return call


def _ssd_floor_compiled(inputs: Inputs) -> Call:
    logits = inputs["logits"].detach()

    def call() -> tuple[Tensor, Tensor]:
        highest = logits.amax(dim=-1, keepdim=True)
        total = (logits - highest).exp().sum(dim=-1, keepdim=True)
        return total.log(), (logits - highest).exp() * total.reciprocal()

    return call


def _as_many(theirs: Result, ours: Result, _: Inputs) -> str:
    """As many positives and negatives over all images: which ones is a matter of chance, or of ties."""

    def numbers(result: Result, groups: int) -> list[int]:
        drawn = [
            int(t.sum()) if t.dtype in (torch.bool, torch.uint8, torch.float32) else t.numel() for t in result.outputs
        ]
        size = len(drawn) // groups
        return [sum(drawn[size * group : size * (group + 1)]) for group in range(groups)]

    groups = len(ours.outputs)
    mine, others = numbers(ours, groups), numbers(theirs, groups)
    return "" if mine == others else f"{others} drawn, not {mine}"


CASES: tuple[Case, ...] = (
    *(
        Case(
            technique="random_sampling",
            axes=axes,
            make_inputs=_candidates,
            ours=_random,
            takes=("labels",),
            peers=(Peer("torchvision", _torchvision_random), Peer("mmdet", _mmdet_random)),
            yardstick="losses",
            agreement=_as_many,
            likeness=OWN_NUMBERS,
            goal=(3.0, 3.0),
            growth=(Growth("N", (10_000, 100_000, 1_000_000), {"B": 4}),) if axes is ANCHORS else (),
        )
        for axes in (ANCHORS, PROPOSALS)
    ),
    *(
        Case(
            technique="iou_balanced_negatives",
            axes=axes,
            make_inputs=_candidates,
            ours=_iou_balanced,
            takes=("labels", "max_iou", "num_negatives"),
            peers=(
                Peer("mmdet", _mmdet_iou_balanced, departs="the negative of the largest IoU is in no bin of its own"),
            ),
            yardstick="losses",
            agreement=_as_many,
            likeness="ours makes both keys of every candidate within the time",
            goal=(3.0, 3.0),
            growth=(Growth("N", (10_000, 100_000, 1_000_000), {"B": 4}, 1.1),) if axes is ANCHORS else (),
        )
        for axes in (ANCHORS, PROPOSALS)
    ),
    Case(
        technique="stratified_hard_example_mining",
        axes=PROPOSALS,
        make_inputs=_candidates,
        ours=_stratified,
        takes=("losses", "labels"),
        peers=(
            Peer("mmdet", _mmdet_stratified),
            Peer("monai", _monai_stratified, departs="negatives in proportion to the positives, these at random"),
        ),
        yardstick="losses",
        agreement=_as_many,
        likeness="losses are there already; mmdet's sampler looks them up",
    ),
    Case(
        technique="online_hard_example_mining",
        axes=PROPOSALS,
        make_inputs=_candidates,
        ours=_suppressed,
        takes=("boxes", "labels", "losses"),
        yardstick="losses",
    ),
    Case(
        technique="ssd_confidence_loss",
        axes={"B": 16, "N": 8_732, "C": 20},
        make_inputs=_default_boxes,
        ours=ssd_confidence_loss,
        takes=("logits", "labels"),
        differentiates=("logits",),
        peers=(
            Peer("torchvision", _torchvision_ssd, departs="its background is the first channel"),
            Peer("mmdet", _mmdet_ssd),
        ),
        floors=(
            Floor("log_softmax, one number an anchor, and exp times a number of the anchor; no mining", _ssd_floor),
            Floor("highest, sum of exp, and exp times a number of the anchor; no mining", _ssd_floor_compiled, True),
        ),
        likeness="torchvision and mmdet give a loss of boxes of zeros besides",
        goal=(3.0, 3.0),
    ),
)
