"""Every case, by family."""

from steelyard.impl.benchmarks import soft_sampling
from steelyard.impl.benchmarks.case import Case

CASES: tuple[Case, ...] = soft_sampling.CASES


def techniques() -> tuple[str, ...]:
    """Their techniques, in order, each once."""
    return tuple(dict.fromkeys(case.technique for case in CASES))


def peers() -> tuple[str, ...]:
    """The libraries that some case compares, in order, each once."""
    return tuple(dict.fromkeys(peer.name.partition(",")[0] for case in CASES for peer in case.peers))
