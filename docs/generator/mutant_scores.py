"""The score of the automatic mutants as tables, for the page that says why green means something."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import TypedDict

from generator.docstrings import plain
from generator.technique_pages import FAMILIES

from steelyard.conformance.registry import TECHNIQUES

MARK = "<!-- scores of the automatic mutants -->"
"""Where they stand in docs/judge.md."""
_HEAD = "| {} | mutants | killed | | the same function | alive |\n| --- | ---: | ---: | ---: | ---: | ---: |"


class Score(TypedDict):
    """What became of the mutants of one technique, or of several."""

    mutants: int
    killed: int
    equivalent: int
    surviving: list[str]


def tables(scores: Mapping[str, Score]) -> str:
    """By family and all together, then by technique, as Markdown."""
    families = [
        _row(title, [of for id_, of in scores.items() if TECHNIQUES[id_].family == family])
        for family, title in FAMILIES.items()
    ]
    techniques = [
        _row(f"[{plain(technique.title)}](techniques/{id_}.md)", [scores[id_]]) for id_, technique in TECHNIQUES.items()
    ]
    by_family = "\n".join([_HEAD.format("family"), *filter(None, families), _row("**all**", list(scores.values()))])
    return f"{by_family}\n\n" + "\n".join([_HEAD.format("technique"), *techniques])


def _row(name: str, scores: Sequence[Score]) -> str:
    made, killed, equal = (sum(of[part] for of in scores) for part in ("mutants", "killed", "equivalent"))
    alive = sum(len(of["surviving"]) for of in scores)
    return f"| {name} | {made:,} | {killed:,} | {100 * killed / made:.1f} % | {equal} | {alive} |" if made else ""
