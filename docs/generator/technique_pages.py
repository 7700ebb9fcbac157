"""A page for each technique, made from its contract, the docstrings of the reference, and the sources themselves."""

from __future__ import annotations

import ast
import importlib
import inspect
import sys
import textwrap
from collections.abc import Callable, Mapping, Sequence
from typing import Any

from generator import libraries
from generator.docstrings import fenced, plain, prose_of_module, to_markdown
from generator.worked_numbers import session

from steelyard.conformance.contract import Requirement, Technique
from steelyard.conformance.registry import TECHNIQUES

FAMILIES = {
    "detection": "What detectors stand on",
    "hard_sampling": "Hard sampling",
    "soft_sampling": "Soft sampling",
    "generative": "Generative methods",
    "foreground_balance": "Balance between foreground classes",
}
FIGURES = {
    "loss-and-gradient": (
        "sigmoid_focal_loss", "focal_loss_star", "quality_focal_loss", "varifocal_loss", "generalized_focal_loss",
    ),
    "gradient-histogram": ("ghm_classification_loss", "gradient_density", "sigmoid_focal_loss", "unit_region_weights"),
    "rank-to-weight": ("isr_p_weights", "isr_n_weights", "iou_hierarchical_local_rank"),
}  # fmt: skip
"""Which techniques a figure of docs/plots.py shows."""


def pages(
    links: Mapping[str, str],
    figures: Mapping[str, str],
    captions: Mapping[str, str],
    caught: Mapping[str, Mapping[str, Sequence[str]]],
) -> dict[str, str]:
    """File name -> Markdown.

    `figures`: those of docs/plots.py, name -> description; `captions`: of the picture of each technique; `caught`:
    docs/mutants.json.
    """
    known, verdicts, reports = libraries.known_failures(), libraries.verdicts(), libraries.pages()
    written = {}
    for id_, technique in TECHNIQUES.items():
        parts = [
            _head(technique),
            "## What it is for\n\n" + prose_of_module(technique.oracle.__module__, links),
            "## Definition\n\n" + to_markdown(technique.oracle, links),
            _code(technique),
            _twin(technique),
            _numbers(technique),
            _pictures(id_, figures, captions[id_]),
            _requirements(technique, caught.get(id_, {})),
            _rulings(technique),
            _dialects(technique),
            _mutants(technique, caught.get(id_, {})),
            _libraries(id_, [k for k in known if k.technique == id_], verdicts.get(id_, {}), reports.get(id_, [])),
        ]
        written[f"techniques/{id_}.md"] = "\n\n".join(parts) + "\n"
    for family, title in FAMILIES.items():
        members = [t for t in TECHNIQUES.values() if t.family == family]
        said = "\n".join(f"- [{plain(t.title)}]({t.id}.md): {plain(t.summary)}" for t in members)
        toctree = "\n".join(t.id for t in members)
        written[f"techniques/{family}.md"] = f"# {title}\n\n{said}\n\n```{{toctree}}\n:hidden:\n{toctree}\n```\n"
    return written


def anchor(technique: Technique, requirement_id: str) -> str:
    """Where a requirement is linked to."""
    return f"{technique.id}-{requirement_id}".lower()


def _head(technique: Technique) -> str:
    sources = "\n".join(f"- {plain(source)}" for source in technique.sources)
    return (
        f"# {plain(technique.title)}\n\n{plain(technique.summary)}\n\n"
        f"`{technique.id}`, {FAMILIES[technique.family].lower()}. In the terminal: `steelyard show {technique.id}`;"
        f" judge yours: `steelyard check mylib:function --as {technique.id}`.\n\n{sources}"
    )


def _numbers(technique: Technique) -> str:
    return (
        "## Worked numbers\n\nAn input that the suite draws, and the reference's answer, computed when this page was"
        f" built.\n\n{fenced('python', session(technique))}"
    )


def _pictures(id_: str, figures: Mapping[str, str], caption: str) -> str:
    shown = {name: said for name, said in figures.items() if id_ in FIGURES.get(name, ())}
    shown[f"techniques/{id_}"] = caption
    return "## Pictures\n\n" + "\n\n".join(
        f"![{said.rstrip('.').translate(_NO_MARKUP)}](../figures/{name}.svg)\n\n{said}" for name, said in shown.items()
    )


_NO_MARKUP = str.maketrans({"`": None, "[": "(", "]": ")"})


def _requirements(technique: Technique, caught: Mapping[str, Sequence[str]]) -> str:
    entries = [_requirement(technique, requirement, caught) for requirement in technique.requirements]
    absent = "\n".join(f"- {kind.value}: {plain(reason)}" for kind, reason in technique.not_applicable.items())
    none = f"\n\nKinds without a requirement, and why:\n\n{absent}" if absent else ""
    return "## Requirements\n\n" + "\n\n".join(entries) + none


def _requirement(technique: Technique, requirement: Requirement, caught: Mapping[str, Sequence[str]]) -> str:
    catches = [mutant for mutant, by in caught.items() if requirement.id in by]
    alone = [mutant for mutant in catches if list(caught[mutant]) == [requirement.id]]
    said = [f"*Source:* {plain(requirement.source)}."]
    if alone:
        said.append(f"*Alone catches* {', '.join(f'`{m}`' for m in alone)}.")
    if shared := len(catches) - len(alone):
        said.append(f"*Also catches* {shared} {'mutant' if shared == 1 else 'mutants'} that others catch too.")
    if requirement.no_mutant:
        said.append(f"*No mutant of its own:* {plain(requirement.no_mutant)}.")
    return (
        f"({anchor(technique, requirement.id)})=\n**{requirement.id}** · {requirement.level.value} ·"
        f" {requirement.kind.value}  \n{plain(requirement.text)}  \n{' '.join(said)}"
    )


def _rulings(technique: Technique) -> str:
    if not technique.rulings:
        return "## Rulings\n\nNone: the definition and the requirements say all that was decided."
    said = "\n".join(f"- **{ruling.id}**: {plain(ruling.text)}" for ruling in technique.rulings)
    return f"## Rulings\n\nWhere the paper is silent, or paper and practice differ, and why.\n\n{said}"


def _dialects(technique: Technique) -> str:
    if not technique.dialects:
        return "## Dialects\n\nNone: every candidate is held against the same definition."
    said = "\n".join(
        f"- **{d.id}**: {plain(d.summary)} (`{', '.join(f'{k}={v!r}' for k, v in d.options.items())}`"
        f"{'; departs from the paper' if d.departs_from_paper else ''})"
        for d in technique.dialects
    )
    return f"## Dialects\n\nChoices that a candidate may declare; else the suite finds out which it speaks.\n\n{said}"


def _mutants(technique: Technique, caught: Mapping[str, Sequence[str]]) -> str:
    said = []
    for mutant in technique.mutants:
        by = ", ".join(f"[{r}](#{anchor(technique, r)})" for r in caught.get(mutant.id, ()))
        seen = f" Seen in {plain(mutant.seen_in)}." if mutant.seen_in else ""
        caught_by = f"Caught by {by}" if by else f"Rare: `steelyard mutants -m {mutant.id}` says what catches it"
        said.append(f"- `{mutant.id}`: {plain(mutant.summary)}.{seen} {caught_by}.")
    return (
        "## Known mistakes\n\nMutants: wrong implementations that the requirements must catch, and by which a failure"
        " is explained.\n\n" + "\n".join(said)
    )


def _libraries(
    id_: str,
    known: Sequence[libraries.Known],
    verdicts: Mapping[str, str],
    reports: Sequence[tuple[str, str]],
) -> str:
    if not (known or verdicts or reports):
        return (
            "## Real libraries\n\nNone of the libraries of the [published matrix](../matrix.md) offers this as a"
            " function of its own, so none is judged."
        )
    contract = TECHNIQUES[id_]
    ids = {r.id for r in contract.requirements}
    lines = [f"- {plain(library)}: {plain(verdict)}" for library, verdict in verdicts.items()]
    parts = ["## Real libraries"]
    if lines:
        parts.append(
            "Verdicts of the [published matrix](../matrix.md), with the number of requirements that do not hold"
            " (binding + others):\n\n" + "\n".join(lines)
        )
    if known:
        said = [
            f"- {plain(k.library)}, "
            + (
                f"[{k.requirement}](#{anchor(contract, k.requirement)})"
                if k.requirement in ids else plain(k.requirement)
            )
            + f": {plain(k.reason)}" + (f" ([report]({k.url}))" if k.url.startswith("http") else "")
            for k in known
        ]  # fmt: skip
        parts.append("Known deviations that the bundled adapters list:\n\n" + "\n".join(said))
    if reports:
        parts.append(
            "Reports with a script of their own:\n\n"
            + "\n".join(f"- [{title}](../deviations/{name})" for name, title in reports)
        )
    return "\n\n".join(parts)


def _code(technique: Technique) -> str:
    return f"## Reference code\n\n`{technique.oracle.__module__}`; every helper of its own file with it.\n\n" + fenced(
        "python", "\n\n\n".join(_with_helpers(technique.oracle))
    )


def _twin(technique: Technique) -> str:
    twin = getattr(importlib.import_module("steelyard.impl"), technique.id)
    return f"## The fast twin\n\n`{twin.__module__}`: batched PyTorch, judged by the requirements below.\n\n" + fenced(
        "python", inspect.getsource(twin)
    )


def _with_helpers(function: Callable[..., Any]) -> list[str]:
    """A function's code and that of the private functions of its module that it calls, docstrings left out."""
    module = sys.modules[function.__module__]
    wanted, sources = [function.__name__], []
    for name in wanted:
        source = inspect.getsource(getattr(module, name))
        sources.append(_without_docstring(source))
        for node in ast.walk(ast.parse(source)):
            called = node.id if isinstance(node, ast.Name) else ""
            value = getattr(module, called, None) if called.startswith("_") else None
            if inspect.isfunction(value) and value.__module__ == module.__name__ and called not in wanted:
                wanted.append(called)
    return sources


def _without_docstring(source: str) -> str:
    source = textwrap.dedent(source)
    (definition,) = ast.parse(source).body
    assert isinstance(definition, ast.FunctionDef)
    if len(definition.body) == 1 or ast.get_docstring(definition) is None:
        return source.rstrip()
    first = definition.body[0]
    lines = source.rstrip().split("\n")
    return "\n".join(lines[: first.lineno - 1] + lines[first.end_lineno :])
