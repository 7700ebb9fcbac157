"""The contracts of the hard-sampling techniques, in the order in which they are listed."""

from __future__ import annotations

from steelyard.conformance.contract import Technique
from steelyard.conformance.hard_sampling.random_sampling import RANDOM_SAMPLING

CONTRACTS: tuple[Technique, ...] = (RANDOM_SAMPLING,)
