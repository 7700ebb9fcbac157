"""The contracts of the foreground-balance techniques, in the order in which they are listed."""

from __future__ import annotations

from steelyard.conformance.contract import Technique
from steelyard.conformance.foreground_balance.class_aware_sampling import CLASS_AWARE_ORDER
from steelyard.conformance.foreground_balance.class_balanced_loss import CLASS_BALANCED_LOSS, CLASS_BALANCED_WEIGHTS
from steelyard.conformance.foreground_balance.equalization_loss_v2 import EQUALIZATION_LOSS_V2
from steelyard.conformance.foreground_balance.ofb_sampling import FOREGROUND_BALANCED_SAMPLING
from steelyard.conformance.foreground_balance.repeat_factor_sampling import IMAGE_REPEAT_FACTORS, REPEAT_COUNTS
from steelyard.conformance.foreground_balance.seesaw_loss import SEESAW_LOSS

CONTRACTS: tuple[Technique, ...] = (
    FOREGROUND_BALANCED_SAMPLING,
    IMAGE_REPEAT_FACTORS,
    REPEAT_COUNTS,
    CLASS_AWARE_ORDER,
    CLASS_BALANCED_WEIGHTS,
    CLASS_BALANCED_LOSS,
    SEESAW_LOSS,
    EQUALIZATION_LOSS_V2,
)
