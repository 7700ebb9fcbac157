"""The census as a page: the picture that the review of imbalance problems draws, with the numbers beneath.

One self-contained file, without network. Needs the extra `report` (Jinja2 and Matplotlib).
"""

from __future__ import annotations

import io
import re
from pathlib import Path
from typing import Any

from steelyard.conformance.census.annotation_files import PROBLEMS
from steelyard.conformance.extras import needed

TEMPLATE = Path(__file__).with_name("census.html.jinja")
CLASS_NAMES_SHOWN = 100
"""With more classes than this their names would lie over each other: the picture shows ranks, the table names."""

_INK, _BACKGROUND, _IGNORED, _FOREGROUND = "#010203", "#4c78a8", "#9aa5b1", "#e4572e"


def census_page(document: dict[str, Any]) -> str:
    """HTML of a census document."""
    jinja2 = needed("jinja2", for_what="--html")
    environment = jinja2.Environment(autoescape=True, undefined=jinja2.StrictUndefined, trim_blocks=True)
    template = environment.from_string(TEMPLATE.read_text(encoding="utf-8"))
    classes = sorted(document["classes"], key=lambda row: (-row["foreground"], -row["objects"], row["id"]))
    return str(
        template.render(
            census=document,
            classes=classes,
            kinds=picture_of_kinds(document),
            by_class=picture_of_classes(classes, document["images"]),
            problems={PROBLEMS[name]: number for name, number in document["problems"].items()},
        )
    )


def picture_of_kinds(document: dict[str, Any]) -> str:
    """Background, ignored and foreground anchors an image, on a log scale, as SVG."""
    kinds = ("background", "ignored", "foreground")
    means = [document[kind] / document["images"] for kind in kinds]
    figure, axes = _figure(4.6, 3.6)
    bars = axes.bar(kinds, means, color=[_BACKGROUND, _IGNORED, _FOREGROUND], width=0.6)
    axes.bar_label(bars, [f"{mean:,.2f}" for mean in means], color=_INK, padding=2)
    axes.set_yscale("symlog", linthresh=1)
    axes.set_ylim(0, 10 * max(means))
    axes.set_ylabel("anchors an image (log)")
    return _svg(figure, "Background, ignored and foreground anchors an image")


def picture_of_classes(classes: list[dict[str, Any]], images: int) -> str:
    """Foreground anchors an image of each class, largest first, as SVG."""
    means = [row["foreground"] / images for row in classes]
    named = len(classes) <= CLASS_NAMES_SHOWN
    figure, axes = _figure(max(4.6, min(16.0, 0.17 * len(classes) + 1)), 3.6 + named)
    axes.bar(range(len(classes)), means, color=_FOREGROUND, width=0.8 if named else 1.0)
    axes.set_yscale("symlog", linthresh=max(min((m for m in means if m > 0), default=1.0), 1e-6))
    axes.set_ylim(0)
    axes.margins(x=0.01)
    axes.set_ylabel("foreground anchors an image (log)")
    if named:
        axes.set_xticks(range(len(classes)), [row["name"] for row in classes], rotation=90, fontsize=7)
    else:
        axes.set_xlabel("rank of the class")
    return _svg(figure, "Foreground anchors an image, by class")


def _figure(width: float, height: float) -> tuple[Any, Any]:
    needed("matplotlib", for_what="--html")
    from matplotlib.figure import Figure  # noqa: PLC0415 - of the extra

    figure = Figure(figsize=(width, height), layout="constrained")
    axes = figure.subplots()
    axes.spines[["top", "right"]].set_visible(False)
    axes.spines[["left", "bottom"]].set_color(_INK)
    axes.tick_params(colors=_INK, which="both")
    axes.yaxis.label.set_color(_INK)
    axes.xaxis.label.set_color(_INK)
    return figure, axes


def _svg(figure: Any, title: str) -> str:  # noqa: ANN401 - a figure of a library that may be absent
    """The figure as an element of a page: it takes the page's ink and width, and says what it shows."""
    matplotlib = needed("matplotlib", for_what="--html")
    file = io.StringIO()
    with matplotlib.rc_context({"svg.fonttype": "none", "svg.hashsalt": title, "font.family": "sans-serif"}):
        figure.savefig(file, format="svg", transparent=True, metadata={"Date": None})
    svg = file.getvalue()
    svg = svg[svg.index("<svg") :].replace(_INK, "currentColor")
    svg = re.sub(r'<svg [^>]*?(viewBox="[^"]*")[^>]*>', rf'<svg \1 role="img" aria-label="{title}">', svg, count=1)
    return re.sub(r"<metadata>.*?</metadata>", "", svg, flags=re.DOTALL)
