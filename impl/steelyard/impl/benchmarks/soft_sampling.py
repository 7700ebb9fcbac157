"""Losses that weigh every element, at the sizes of RetinaNet (2 images) and of a YOLO-like head (16 images).

Peers get what their own callers have: class ids where they take class ids, and else a dense target of their type that
was made before the clock started. Their users make it in every step, at the cost of some passes: leaving that out
is in the peers' favour.
"""

from typing import Any

import torch
from torch import Generator, Tensor

from steelyard.impl.benchmarks.case import Axes, Call, Case, Floor, Growth, Inputs, Peer
from steelyard.impl.benchmarks.scenes import anchor_labels, detector_logits, one_hot
from steelyard.impl.slices import in_slices, sum_in_slices
from steelyard.impl.soft_sampling.distribution_focal_loss import distribution_focal_loss
from steelyard.impl.soft_sampling.focal_loss import sigmoid_focal_loss, sigmoid_focal_loss_with_labels
from steelyard.impl.soft_sampling.focal_normalisers import normalise_focal_loss
from steelyard.impl.soft_sampling.ghm import ghm_classification_loss, ghm_classification_loss_with_labels
from steelyard.impl.soft_sampling.quality_focal_loss import quality_focal_loss, quality_focal_loss_with_labels
from steelyard.impl.soft_sampling.varifocal_loss import varifocal_loss, varifocal_loss_with_labels

RETINANET = {"B": 2, "N": 100_000, "C": 80}
YOLO = {"B": 16, "N": 8_400, "C": 80}
SIZES = (RETINANET, YOLO)
DENSE = "peers that want a dense target get one of their type, made before the clock starts"
BY_LABEL = f"class ids; {DENSE}"
GROWTH = (
    Growth("N", (10_000, 100_000, 1_000_000, 10_000_000), {"B": 1, "C": 4}),
    Growth("B", (1, 2, 4, 8, 16), {"N": 8_400, "C": 80}),
    Growth("C", (10, 20, 40, 80, 160, 320), {"B": 2, "N": 20_000}),
)


def _dense(axes: Axes, device: torch.device, generator: Generator) -> Inputs:
    shape, num_classes = (axes["B"], axes["N"]), axes["C"]
    labels = anchor_labels(shape, num_classes, device, generator)
    targets = one_hot(labels, num_classes)
    quality = torch.rand(shape, generator=generator, device=device)
    return {
        "logits": detector_logits((*shape, num_classes), device, generator),
        "labels": labels,
        "targets": targets,
        "quality": quality,
        "soft_targets": torch.where(targets, quality.unsqueeze(-1), 0.0),
    }


def _of_sides(axes: Axes, device: torch.device, generator: Generator) -> Inputs:
    shape = axes["N"], axes["sides"]
    logits = torch.randn(*shape, axes["bins"], generator=generator, device=device) * 2.0
    targets = torch.rand(shape, generator=generator, device=device) * (axes["bins"] - 1.01)
    return {"logits": logits.requires_grad_(), "targets": targets}


# --- ours: the sum of the elements, which is what a head divides by its normaliser -------------------------------


def _focal(logits: Tensor, targets: Tensor) -> Tensor:
    return sigmoid_focal_loss(logits, targets).sum()


def _focal_with_labels(logits: Tensor, labels: Tensor) -> Tensor:
    return sigmoid_focal_loss_with_labels(logits, labels).sum()


def _normalised_focal(logits: Tensor, labels: Tensor) -> Tensor:
    losses = sigmoid_focal_loss_with_labels(logits, labels)
    return normalise_focal_loss(losses, labels, num_classes=logits.shape[-1], normaliser="batch_floored_foreground")


def _ghm(logits: Tensor, targets: Tensor) -> Tensor:
    return ghm_classification_loss(logits, targets).loss


def _ghm_with_labels(logits: Tensor, labels: Tensor) -> Tensor:
    return ghm_classification_loss_with_labels(logits, labels).loss


def _quality(logits: Tensor, soft_targets: Tensor) -> Tensor:
    return quality_focal_loss(logits, soft_targets).sum()


def _quality_with_labels(logits: Tensor, labels: Tensor, quality: Tensor) -> Tensor:
    return quality_focal_loss_with_labels(logits, labels, quality).sum()


def _varifocal(logits: Tensor, soft_targets: Tensor) -> Tensor:
    return varifocal_loss(logits, soft_targets).sum()


def _varifocal_with_labels(logits: Tensor, labels: Tensor, quality: Tensor) -> Tensor:
    return varifocal_loss_with_labels(logits, labels, quality).sum()


def _distribution(logits: Tensor, targets: Tensor) -> Tensor:
    return distribution_focal_loss(logits, targets).sum()


# --- floors: what none can do without ------------------------------------------------------------------------------


def _least_ghm(inputs: Inputs) -> tuple[Call, Call]:
    """Slices that stay in the cache; regions without care for their edges; any weights."""
    x, targets, bins = inputs["logits"].detach(), inputs["targets"], 10
    table, lanes = torch.ones(bins), 1024

    def signed(x: Tensor, targets: Tensor) -> Tensor:
        return x * targets.view(torch.uint8).to(x.dtype)

    def regions(x: Tensor, targets: Tensor) -> Tensor:
        g = signed(x, targets).sigmoid()
        index = (g.reshape(-1)[: g.numel() // lanes * lanes].view(-1, lanes) * bins).to(torch.int64)
        counts = torch.zeros((bins + 1, lanes)).scatter_add_(0, index, torch.ones(()).expand(index.shape))
        losses = g.log1p().reshape(-1)[: index.numel()].view(index.shape)
        return counts.sum() + torch.zeros_like(counts).scatter_add_(0, index, losses).sum()

    def weighted(x: Tensor, targets: Tensor) -> Tensor:
        g = signed(x, targets).sigmoid()
        return g * table.index_select(0, (g * (bins - 1)).to(torch.int32).view(-1)).view(g.shape)

    shared = x.ndim
    return (
        torch.no_grad()(lambda: sum_in_slices(regions, x, targets, shared=shared)),
        torch.no_grad()(lambda: in_slices(weighted, x, targets, shared=shared)),
    )


def _least_ghm_compiled(inputs: Inputs) -> tuple[Call, Call]:
    x, targets = inputs["logits"].detach(), inputs["targets"]

    def signed() -> Tensor:
        return x * (1.0 - 2.0 * targets.to(x.dtype))

    return lambda: torch.log1p(-signed().sigmoid()).sum(), lambda: 2.0 * signed().sigmoid()


_GHM_FLOORS = (
    Floor(
        "forward: sigmoid, log1p, two scatters into regions; backward: sigmoid, a weight of the region; in the cache",
        _least_ghm,
    ),
    Floor("forward: a sum of log1p(sigmoid); backward: sigmoid; no regions", _least_ghm_compiled, compiled=True),
)


# --- peers ---------------------------------------------------------------------------------------------------------


def _torchvision_focal(inputs: Inputs) -> Call:
    from torchvision.ops import sigmoid_focal_loss as theirs  # noqa: PLC0415 - may be absent

    targets = inputs["targets"].float()
    return lambda: theirs(inputs["logits"], targets, alpha=0.25, gamma=2.0, reduction="sum")


def _fvcore_focal(inputs: Inputs) -> Call:
    from fvcore.nn import sigmoid_focal_loss as theirs  # noqa: PLC0415

    targets = inputs["targets"].float()
    return lambda: theirs(inputs["logits"], targets, alpha=0.25, gamma=2.0, reduction="sum")


def _mmdet_focal(inputs: Inputs) -> Call:
    from mmdet.models.losses.focal_loss import py_sigmoid_focal_loss  # noqa: PLC0415

    targets = inputs["targets"].float().flatten(0, -2)
    return lambda: py_sigmoid_focal_loss(inputs["logits"].flatten(0, -2), targets, reduction="sum")


def _mmdet_focal_with_labels(inputs: Inputs) -> Call:
    from mmdet.models.losses import FocalLoss  # noqa: PLC0415

    focal = FocalLoss(gamma=2.0, alpha=0.25, reduction="sum")
    labels = inputs["labels"].flatten()
    return lambda: focal(inputs["logits"].flatten(0, -2), labels)


def _kornia_focal(inputs: Inputs) -> Call:
    from kornia.losses import binary_focal_loss_with_logits  # noqa: PLC0415

    targets = inputs["targets"].float().flatten(0, -2)
    return lambda: binary_focal_loss_with_logits(
        inputs["logits"].flatten(0, -2), targets, alpha=0.25, gamma=2.0, reduction="sum"
    )


def _monai_focal(inputs: Inputs) -> Call:
    from monai.losses import FocalLoss  # noqa: PLC0415

    focal = FocalLoss(gamma=2.0, alpha=0.25, reduction="none")  # its "sum" is a mean over anchors first
    targets = inputs["targets"].float().flatten(0, -2)
    return lambda: focal(inputs["logits"].flatten(0, -2), targets).sum()


def _toolbelt_focal(inputs: Inputs) -> Call:
    from pytorch_toolbelt.losses.functional import focal_loss_with_logits  # noqa: PLC0415

    targets = inputs["targets"].float()
    return lambda: focal_loss_with_logits(inputs["logits"], targets, gamma=2.0, alpha=0.25, reduction="sum")


def _imbalanced_focal(inputs: Inputs) -> Call:
    from imbalanced_losses import SigmoidFocalLoss  # noqa: PLC0415

    focal = SigmoidFocalLoss(alpha=0.25, gamma=2.0, reduction="sum")
    targets = inputs["targets"].float()
    return lambda: focal(inputs["logits"], targets)


def _normalised(peer: Any) -> Any:  # noqa: ANN401 - what prepares a peer
    """A peer's sum divided by the number of foreground anchors, counted in every step as its head has to."""

    def prepare(inputs: Inputs) -> Call:
        call, labels, background = peer(inputs), inputs["labels"], inputs["logits"].shape[-1]
        return lambda: call() / ((labels >= 0) & (labels < background)).sum(dim=1).clamp(min=1).sum()

    return prepare


def _mmdet_ghm(inputs: Inputs) -> Call:
    from mmdet.models.losses import GHMC  # noqa: PLC0415

    ghm = GHMC(bins=10, momentum=0).to(inputs["logits"].device)
    targets = inputs["targets"].float().flatten(0, -2)
    valid = torch.ones_like(targets)
    return lambda: ghm(inputs["logits"].flatten(0, -2), targets, valid)


def _mmdet_ghm_with_labels(inputs: Inputs) -> Call:
    from mmdet.models.losses import GHMC  # noqa: PLC0415

    ghm = GHMC(bins=10, momentum=0).to(inputs["logits"].device)
    labels = inputs["labels"].flatten()
    valid = torch.ones_like(labels, dtype=torch.float32)
    return lambda: ghm(inputs["logits"].flatten(0, -2), labels, valid)


def _mmdet_quality(inputs: Inputs) -> Call:
    from mmdet.models.losses import QualityFocalLoss  # noqa: PLC0415

    focal = QualityFocalLoss(beta=2.0, reduction="sum")
    targets = inputs["soft_targets"].flatten(0, -2)
    return lambda: focal(inputs["logits"].flatten(0, -2), targets)


def _mmdet_quality_with_labels(inputs: Inputs) -> Call:
    from mmdet.models.losses import QualityFocalLoss  # noqa: PLC0415

    focal = QualityFocalLoss(beta=2.0, reduction="sum")
    target = inputs["labels"].flatten(), inputs["quality"].flatten()
    return lambda: focal(inputs["logits"].flatten(0, -2), target)


def _toolbelt_quality(inputs: Inputs) -> Call:
    from pytorch_toolbelt.losses.quality_focal_loss import QualityFocalLoss  # noqa: PLC0415

    focal = QualityFocalLoss(beta=2.0, reduction="sum")
    return lambda: focal(inputs["logits"], inputs["soft_targets"])


def _obb_quality(inputs: Inputs) -> Call:
    from obb_loss.losses.quality_focal import quality_focal_loss as theirs  # noqa: PLC0415

    targets = inputs["soft_targets"].flatten(0, -2)
    return lambda: theirs(inputs["logits"].flatten(0, -2), targets, beta=2.0).value.sum()  # noqa: PLW0108 - the call is timed


def _mmdet_varifocal(inputs: Inputs) -> Call:
    from mmdet.models.losses import VarifocalLoss  # noqa: PLC0415

    focal = VarifocalLoss(alpha=0.75, gamma=2.0, iou_weighted=True, reduction="sum")
    targets = inputs["soft_targets"].flatten(0, -2)
    return lambda: focal(inputs["logits"].flatten(0, -2), targets)


def _obb_varifocal(inputs: Inputs) -> Call:
    from obb_loss.losses.varifocal import varifocal_loss as theirs  # noqa: PLC0415

    targets = inputs["soft_targets"].flatten(0, -2)
    return lambda: theirs(inputs["logits"].flatten(0, -2), targets, alpha=0.75, gamma=2.0).value.sum()  # noqa: PLW0108 - the call is timed


def _mmdet_distribution(inputs: Inputs) -> Call:
    from mmdet.models.losses import DistributionFocalLoss  # noqa: PLC0415

    focal = DistributionFocalLoss(reduction="sum")
    targets = inputs["targets"].flatten()
    return lambda: focal(inputs["logits"].flatten(0, -2), targets)


# --- floors: forward and backward in one call -----------------------------------------------------------------------


def _distribution_floor(inputs: Inputs) -> Call:
    logits = inputs["logits"].detach()
    of_side = torch.ones_like(logits[..., :1])
    return lambda: torch.softmax(logits, dim=-1).mul_(of_side)


def _distribution_floor_compiled(inputs: Inputs) -> Call:
    """The sums of a side before its shares: no compiler can write the gradient while it adds up."""
    logits = inputs["logits"].detach()

    def call() -> tuple[Tensor, Tensor]:
        highest = logits.amax(dim=-1, keepdim=True)
        total = (logits - highest).exp().sum(dim=-1, keepdim=True)
        return total.log().sum(), (logits - highest).exp() * total.reciprocal()

    return call


_DENSE_FOCAL = (
    Peer("torchvision", _torchvision_focal),
    Peer("fvcore", _fvcore_focal),
    Peer("mmdet", _mmdet_focal),
    Peer("kornia", _kornia_focal),
    Peer("monai", _monai_focal),
    Peer("pytorch-toolbelt", _toolbelt_focal),
    Peer("imbalanced-losses", _imbalanced_focal),
)

CASES = (
    *(
        Case(
            technique="sigmoid_focal_loss",
            axes=axes,
            make_inputs=_dense,
            ours=_focal,
            takes=("logits", "targets"),
            differentiates=("logits",),
            peers=_DENSE_FOCAL,
            likeness=f"bool targets; {DENSE}",
            goal=(2.0, 4.0),
            growth=GROWTH if axes is RETINANET else (),
        )
        for axes in SIZES
    ),
    *(
        Case(
            technique="sigmoid_focal_loss_with_labels",
            axes=axes,
            make_inputs=_dense,
            ours=_focal_with_labels,
            takes=("logits", "labels"),
            differentiates=("logits",),
            peers=(*_DENSE_FOCAL, Peer("mmdet, class ids", _mmdet_focal_with_labels)),
            likeness=BY_LABEL,
            goal=(2.0, 4.0),
            growth=GROWTH if axes is RETINANET else (),
        )
        for axes in SIZES
    ),
    Case(
        technique="normalise_focal_loss",
        axes=RETINANET,
        make_inputs=_dense,
        ours=_normalised_focal,
        takes=("logits", "labels"),
        differentiates=("logits",),
        peers=(
            Peer("torchvision", _normalised(_torchvision_focal)),
            Peer("fvcore", _normalised(_fvcore_focal)),
            Peer("mmdet", _normalised(_mmdet_focal)),
        ),
        likeness=f"focal loss and normaliser together: what the normaliser adds is the difference. {BY_LABEL}",
    ),
    *(
        Case(
            technique="ghm_classification_loss",
            axes=axes,
            make_inputs=_dense,
            ours=_ghm,
            takes=("logits", "targets"),
            differentiates=("logits",),
            peers=(Peer("mmdet", _mmdet_ghm),),
            likeness=f"bool targets; {DENSE}",
            goal=(8.0, 16.0),
            floors=_GHM_FLOORS,
            growth=GROWTH if axes is RETINANET else (),
        )
        for axes in SIZES
    ),
    *(
        Case(
            technique="ghm_classification_loss_with_labels",
            axes=axes,
            make_inputs=_dense,
            ours=_ghm_with_labels,
            takes=("logits", "labels"),
            differentiates=("logits",),
            peers=(Peer("mmdet", _mmdet_ghm), Peer("mmdet, class ids", _mmdet_ghm_with_labels)),
            likeness=BY_LABEL,
            goal=(8.0, 16.0),
            floors=_GHM_FLOORS,
        )
        for axes in SIZES
    ),
    *(
        Case(
            technique="quality_focal_loss",
            axes=axes,
            make_inputs=_dense,
            ours=_quality,
            takes=("logits", "soft_targets"),
            differentiates=("logits",),
            peers=(
                Peer("mmdet", _mmdet_quality),
                Peer("pytorch-toolbelt", _toolbelt_quality),
                Peer("obb-loss", _obb_quality),
            ),
            likeness="the same dense float32 targets for all",
            goal=(3.0, 8.0),
        )
        for axes in SIZES
    ),
    *(
        Case(
            technique="quality_focal_loss_with_labels",
            axes=axes,
            make_inputs=_dense,
            ours=_quality_with_labels,
            takes=("logits", "labels", "quality"),
            differentiates=("logits",),
            peers=(
                Peer("mmdet, class ids", _mmdet_quality_with_labels),
                Peer("mmdet", _mmdet_quality),
                Peer("pytorch-toolbelt", _toolbelt_quality),
                Peer("obb-loss", _obb_quality),
            ),
            likeness=BY_LABEL,
            goal=(3.0, 8.0),
            growth=GROWTH if axes is RETINANET else (),
        )
        for axes in SIZES
    ),
    *(
        Case(
            technique="varifocal_loss",
            axes=axes,
            make_inputs=_dense,
            ours=_varifocal,
            takes=("logits", "soft_targets"),
            differentiates=("logits",),
            peers=(Peer("mmdet", _mmdet_varifocal), Peer("obb-loss", _obb_varifocal)),
            likeness="the same dense float32 targets for all",
            goal=(3.0, 8.0),
        )
        for axes in SIZES
    ),
    *(
        Case(
            technique="varifocal_loss_with_labels",
            axes=axes,
            make_inputs=_dense,
            ours=_varifocal_with_labels,
            takes=("logits", "labels", "quality"),
            differentiates=("logits",),
            peers=(Peer("mmdet", _mmdet_varifocal), Peer("obb-loss", _obb_varifocal)),
            likeness=BY_LABEL,
            goal=(3.0, 8.0),
            growth=GROWTH if axes is RETINANET else (),
        )
        for axes in SIZES
    ),
    Case(
        technique="distribution_focal_loss",
        axes={"N": 4_000, "sides": 4, "bins": 17},
        make_inputs=_of_sides,
        ours=_distribution,
        takes=("logits", "targets"),
        differentiates=("logits",),
        peers=(Peer("mmdet", _mmdet_distribution),),
        floors=(
            Floor("softmax over the bins, times a number of the side", _distribution_floor),
            Floor("highest, sum of exp, and exp times a number of the side", _distribution_floor_compiled, True),
        ),
        likeness="the same float32 targets for all, below the last bin, at which mmdet raises",
        goal=(1.5, 3.0),
        growth=(Growth("N", (1_000, 10_000, 100_000, 1_000_000)), Growth("bins", (5, 9, 17, 33, 65))),
    ),
)
