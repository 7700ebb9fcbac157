"""Docstrings of the reference (numpydoc, dollar maths, doctests) as the Markdown that Sphinx reads.

The doctests are run while they are turned over: the site shows what Python answers now, and a doctest that does not
hold ends the build.
"""

from __future__ import annotations

import doctest
import inspect
import re
import sys
import textwrap
from collections.abc import Callable, Mapping
from typing import Any

HEADING = re.compile(r"^(\S[^\n]*)\n-{3,}\n", re.MULTILINE)
LISTS = ("Parameters", "Returns", "Raises")
PYTHON_PROMPT = ">>> "


class Answers(doctest.DocTestRunner):
    """A runner that keeps what Python answers; a wrong expectation raises."""

    def __init__(self) -> None:
        super().__init__(verbose=False)
        self.given: list[str] = []

    def report_start(self, out: Any, test: doctest.DocTest, example: doctest.Example) -> None:  # noqa: ANN401
        """Say nothing."""

    def report_success(self, out: Any, test: doctest.DocTest, example: doctest.Example, got: str) -> None:  # noqa: ANN401, ARG002
        """Keep the answer."""
        self.given.append(got)

    def report_failure(self, out: Any, test: doctest.DocTest, example: doctest.Example, got: str) -> None:  # noqa: ANN401, ARG002
        """A number of the page is wrong."""
        raise ValueError(f"{test.name}: {example.source}expected {example.want}got {got}")

    def report_unexpected_exception(
        self,
        out: Any,  # noqa: ANN401, ARG002
        test: doctest.DocTest,
        example: doctest.Example,
        exc_info: Any,  # noqa: ANN401
    ) -> None:
        """An example raises."""
        raise ValueError(f"{test.name}: {example.source}") from exc_info[1]


def computed(docstring: str, function: Callable[..., Any]) -> str:
    """The docstring with the output of each example as it is computed now."""
    names = dict(vars(sys.modules[function.__module__]))
    test = doctest.DocTestParser().get_doctest(docstring, names, function.__qualname__, None, None)
    runner = Answers()
    runner.run(test, clear_globs=False)
    lines = docstring.split("\n")
    for example, got in reversed(list(zip(test.examples, runner.given, strict=True))):
        wanted = example.want.count("\n") if example.want else 0
        start = example.lineno + example.source.count("\n")
        lines[start : start + wanted] = got.rstrip("\n").split("\n") if got else []
    return "\n".join(lines)


def to_markdown(function: Callable[..., Any], links: Mapping[str, str]) -> str:
    """Everything that a docstring says, its sections under bold headings."""
    parts = HEADING.split(computed(inspect.getdoc(function) or "", function))
    markdown = [_prose(parts[0], links)]
    for name, text in zip(parts[1::2], parts[2::2], strict=True):
        body = _entries(text, links) if name.strip() in LISTS else _prose(text, links)
        markdown.append(f"**{name.strip()}**\n\n{body}")
    return "\n\n".join(markdown)


def prose_of_module(module_name: str, links: Mapping[str, str]) -> str:
    """What the docstring of a module says."""
    return _prose(inspect.getdoc(sys.modules[module_name]) or "", links)


def plain(text: str) -> str:
    """A sentence of a contract, which is plain text with code in backticks, as Markdown."""
    pieces = re.split(r"(`[^`]*`)", text)
    return "".join(
        piece if piece.startswith("`") and piece.endswith("`") else re.sub(r"([\\*_\[\]<>$|{}~^#])", r"\\\1", piece)
        for piece in pieces
    )


def fenced(language: str, text: str) -> str:
    """A block of code."""
    return f"```{language}\n{text.rstrip()}\n```"


def _prose(text: str, links: Mapping[str, str]) -> str:
    """Paragraphs; a paragraph that begins with a prompt is a session."""
    paragraphs = re.split(r"\n\s*\n", text.strip("\n"))
    return "\n\n".join(
        fenced("pycon", textwrap.dedent(paragraph))
        if paragraph.lstrip().startswith(PYTHON_PROMPT)
        else _linked(paragraph, links)
        for paragraph in paragraphs
    )


def _entries(text: str, links: Mapping[str, str]) -> str:
    """Names with what is said of each."""
    entries: list[list[str]] = []
    for line in text.strip("\n").split("\n"):
        if line and not line.startswith(" "):
            entries.append([line])
        elif entries:
            entries[-1].append(line)
    written = []
    for head, *rest in entries:
        name, colon, kind = head.partition(" : ")
        said = _prose(textwrap.dedent("\n".join(rest)), links) if any(rest) else ""
        first = f"- **{plain(name)}**" + (f" : {_linked(kind, links)}" if colon else "")
        written.append(first + (f"\n\n{textwrap.indent(said, '  ')}" if said.strip() else ""))
    return "\n".join(written)


def _linked(text: str, links: Mapping[str, str]) -> str:
    """Names in backticks become links where the site knows them."""

    def link(found: re.Match[str]) -> str:
        name = found[1]
        target = links.get(name, name if name in links.values() else None)
        return found[0] if target is None else f"{{py:obj}}`{name} <{target}>`"

    return re.sub(r"(?<!`)`([A-Za-z_][\w.]*)`(?!`)", link, text)
