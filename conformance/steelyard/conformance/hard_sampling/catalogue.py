"""The contracts of the hard-sampling techniques, in the order in which they are listed."""

from __future__ import annotations

from steelyard.conformance.contract import Technique
from steelyard.conformance.hard_sampling.hard_negative_mining import HARD_NEGATIVE_MINING
from steelyard.conformance.hard_sampling.random_sampling import RANDOM_SAMPLING
from steelyard.conformance.hard_sampling.ssd_confidence_loss import SSD_CONFIDENCE_LOSS

CONTRACTS: tuple[Technique, ...] = (
    RANDOM_SAMPLING,
    HARD_NEGATIVE_MINING,
    SSD_CONFIDENCE_LOSS,
)
