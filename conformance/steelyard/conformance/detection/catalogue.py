"""The contracts of the detection techniques, in the order in which they are listed."""

from __future__ import annotations

from steelyard.conformance.contract import Technique

CONTRACTS: tuple[Technique, ...] = ()
