"""The benchmark as a picture: how many times as long as ours each contender takes, and how ours grows. matplotlib."""

from pathlib import Path
from typing import Any

COLOURS = {"ours": "#1b7837", "peer": "#7f7f7f", "yardstick": "#2166ac", "floor": "#b2182b"}
ROW_HEIGHT = 0.22  # inches


def draw(document: dict[str, Any], file: Path) -> None:
    """Write the picture of a benchmark's document; the file's ending says in which format."""
    from matplotlib.figure import Figure  # noqa: PLC0415 - of the extra `report`

    cases = [case for case in document["cases"] if any(row["median_seconds"] for row in case["rows"])]
    heights = [sum(row["median_seconds"] is not None for row in case["rows"]) + 2 for case in cases]
    if document["growth"]:
        heights.append(20)
    figure = Figure(figsize=(9.0, max(ROW_HEIGHT * sum(heights), 2.0)), layout="constrained")
    axes = figure.subplots(max(len(heights), 1), 1, squeeze=False, height_ratios=heights or [1])[:, 0]
    for axis, case in zip(axes, cases, strict=False):
        _bars(axis, case)
    if document["growth"]:
        _curves(axes[-1], document["growth"])
    figure.savefig(file)


def _bars(axis: Any, case: dict[str, Any]) -> None:  # noqa: ANN401 - an axis of matplotlib
    rows = sorted(
        (row for row in case["rows"] if row["median_seconds"]), key=lambda row: row["median_seconds"], reverse=True
    )
    names = [row["contender"] for row in rows]
    medians = [1e3 * row["median_seconds"] for row in rows]
    spread = [[1e3 * abs(row["median_seconds"] - row["quartiles_seconds"][end]) for row in rows] for end in (0, 1)]
    axis.barh(names, medians, xerr=spread, color=[COLOURS[row["kind"]] for row in rows], height=0.7)
    axis.set_xscale("log")
    axis.set_title(f"{case['technique']}, {case['size']}, {case['passes']}", fontsize="small", loc="left")
    axis.set_xlabel("milliseconds, median and quartiles", fontsize="x-small")
    axis.tick_params(labelsize="x-small")


def _curves(axis: Any, curves: list[dict[str, Any]]) -> None:  # noqa: ANN401
    for curve in curves:
        points = [point for point in curve["points"] if point["median_seconds"]]
        if not points:
            continue
        label = f"{curve['technique']} by {curve['axis']}"
        if curve["slope"] is not None:
            label += f": slope {curve['slope']:.2f}"
        axis.plot(
            [point["size"] for point in points], [point["median_seconds"] for point in points], marker=".", label=label
        )
    axis.set_xscale("log")
    axis.set_yscale("log")
    axis.set_xlabel("size of the axis", fontsize="x-small")
    axis.set_ylabel("seconds", fontsize="x-small")
    axis.legend(fontsize="xx-small", loc="center left", bbox_to_anchor=(1.0, 0.5))
    axis.tick_params(labelsize="x-small")
