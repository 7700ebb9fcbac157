"""The contracts of the foreground-balance techniques, in the order in which they are listed."""

from __future__ import annotations

from steelyard.conformance.contract import Technique
from steelyard.conformance.foreground_balance.ofb_sampling import FOREGROUND_BALANCED_SAMPLING

CONTRACTS: tuple[Technique, ...] = (FOREGROUND_BALANCED_SAMPLING,)
