"""Every case, by family."""

from steelyard.impl.benchmarks import detection, foreground_balance, generative, hard_sampling, pisa, soft_sampling
from steelyard.impl.benchmarks.case import Case

CASES: tuple[Case, ...] = (
    *soft_sampling.CASES,
    *pisa.CASES,
    *hard_sampling.CASES,
    *detection.CASES,
    *foreground_balance.CASES,
    *generative.CASES,
)


def techniques() -> tuple[str, ...]:
    """Their techniques, in order, each once."""
    return tuple(dict.fromkeys(case.technique for case in CASES))


def peers() -> tuple[str, ...]:
    """The libraries that some case compares, in order, each once."""
    return tuple(dict.fromkeys(peer.name.partition(",")[0] for case in CASES for peer in case.peers))
