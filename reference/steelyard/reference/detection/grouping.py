r"""Bottom-up grouping: boxes from corners, and from extreme points.

Sources: Law and Deng, "CornerNet", ECCV 2018 (arXiv 1808.01244), sections 3.3 and 4.2; Zhou et al.,
"ExtremeNet", CVPR 2019 (arXiv 1901.08043), section 4.1.

The candidates are not anchors but combinations of peaks of heat maps (see `heat_maps`): $K^2$ pairs of corners or
$K^4$ quadruples of extreme points, of which nearly all are wrong and are refused by geometry, by their tags, or by
a missing centre.
"""

from itertools import product
from typing import NamedTuple

import numpy as np
from numpy.typing import ArrayLike

from steelyard.reference.checks import Float, Int, SpecError, count, finite_array, int_array, non_negative, real_number

CORNERS = ("top left", "bottom right")
EXTREMES = ("top", "left", "bottom", "right")


class Groups(NamedTuple):
    """The best boxes, best first; rows after the last are padding."""

    boxes: Float
    """Shape (D, 4): 0 for padding."""
    scores: Float
    """Shape (D,): 0 for padding."""
    classes: Int
    """Shape (D,): -1 for padding."""
    members: Int
    """Shape (D, G): which peak of each kind, -1 for padding."""


def group_corners(
    scores: ArrayLike,
    classes: ArrayLike,
    points: ArrayLike,
    tags: ArrayLike,
    *,
    maximum_tag_distance: float = 0.5,
    top_k: int = 100,
) -> Groups:
    r"""Boxes from pairs of a top left and a bottom right corner.

    All K x K pairs are tried. A pair is refused if the classes differ, if $|e_{tl} - e_{br}|$ is above the maximum,
    or if $x_{br} < x_{tl}$ or $y_{br} < y_{tl}$. Its score is the mean of both.

    Parameters
    ----------
    scores : float, shape (2, K)
        Of the peaks: top left, bottom right.
    classes : int, shape (2, K)
        -1 for padding.
    points : float, shape (2, K, 2)
        x and y, with their offsets added.
    tags : float, shape (2, K)
        Embeddings, finite.
    maximum_tag_distance : float >= 0
        Paper: 0.5 (the default of the authors' function is 1).
    top_k : int >= 1
        D (paper: 100).

    Returns
    -------
    Groups
        `members` has shape (D, 2). Equal scores in the order of their pairs, top left first.

    Raises
    ------
    SpecError
        A shape does not fit, a number is not finite or out of range.

    Source
    ------
    CornerNet, section 4.2. Rulings: the maximum distance itself is accepted; a box without width is accepted.

    Examples
    --------
    Corner 0 fits to corner 0 only: corner 1 has another tag.

    >>> points = [[[0, 0], [5, 5]], [[9, 9], [8, 8]]]
    >>> groups = group_corners([[0.9, 0.5], [0.7, 0.9]], [[0, 0], [0, 0]], points, [[1, 4], [1.2, 4]], top_k=2)
    >>> groups.boxes.tolist(), groups.scores.round(6).tolist()
    ([[0.0, 0.0, 9.0, 9.0], [5.0, 5.0, 8.0, 8.0]], [0.8, 0.7])
    """
    # CHECKS
    score, class_id, point = _peaks(scores, classes, points, kinds=len(CORNERS))
    tag = finite_array("tags", tags, shape=score.shape)
    maximum_tag_distance = non_negative("maximum_tag_distance", maximum_tag_distance)
    top_k = count("top_k", top_k)

    # QUANTITIES OF THE PAPER
    found = []
    peaks = range(score.shape[1])
    for i, j in product(peaks, peaks):
        same_class = class_id[0, i] == class_id[1, j] != -1
        same_object = abs(tag[0, i] - tag[1, j]) <= maximum_tag_distance
        in_order = (point[0, i] <= point[1, j]).all()
        if same_class and same_object and in_order:
            found.append(((score[0, i] + score[1, j]) / 2, i, j))

    # RESULT
    best = sorted(found, key=lambda group: -group[0])[:top_k]
    members = np.array([group[1:] for group in best], dtype=np.int64).reshape(-1, 2)
    boxes = np.concatenate([point[0, members[:, 0]], point[1, members[:, 1]]], axis=1)
    return _padded(boxes, np.array([group[0] for group in best]), class_id[0, members[:, 0]], members, top_k)


def group_extremes(
    scores: ArrayLike,
    classes: ArrayLike,
    points: ArrayLike,
    center_heat: ArrayLike,
    *,
    peak_threshold: float = 0.1,
    center_threshold: float = 0.1,
    center_weight: float = 2.0,
    top_k: int = 100,
) -> Groups:
    r"""Boxes from quadruples of a top, left, bottom and right point with something at their centre.

    All $K^4$ quadruples are tried. One is accepted if the classes agree, each score is at least $\tau_p$, no point lies
    above the top, left of the left, below the bottom or right of the right one, and the heat $c$ of the class at
    $(\lfloor (x_l + x_r)/2 \rfloor, \lfloor (y_t + y_b)/2 \rfloor)$ is at least $\tau_c$. Its score is
    $(s_t + s_l + s_b + s_r + \lambda_c c) / (4 + \lambda_c)$.

    Parameters
    ----------
    scores : float, shape (4, K)
        Of the peaks: top, left, bottom, right.
    classes : int, shape (4, K)
        -1 for padding.
    points : int, shape (4, K, 2)
        x and y, cells of the heat map.
    center_heat : float, shape (C, H, W)
    peak_threshold, center_threshold : float
        $\tau_p$ and $\tau_c$ (paper: 0.1 each).
    center_weight : float >= 0
        $\lambda_c$: 2 in the authors' code, 1 for the mean of the five.
    top_k : int >= 1
        D.

    Returns
    -------
    Groups
        `boxes` are $(x_l, y_t, x_r, y_b)$, `members` has shape (D, 4). Equal scores in the order of their quadruples.

    Raises
    ------
    SpecError
        A shape does not fit, a number is not finite or out of range, a point lies outside the map.

    Source
    ------
    ExtremeNet, section 4.1, algorithm 1. Rulings: a threshold that is reached is passed; points may share a
    coordinate.

    Examples
    --------
    >>> center = [[[0, 0, 0], [0, 0.8, 0], [0, 0, 0]]]
    >>> points = [[[1, 0]], [[0, 1]], [[1, 2]], [[2, 1]]]
    >>> groups = group_extremes([[0.5]] * 4, [[0]] * 4, points, center, top_k=1)
    >>> groups.boxes.tolist(), groups.scores.round(6).tolist()
    ([[0.0, 0.0, 2.0, 2.0]], [0.6])
    """
    # CHECKS
    score, class_id, point = _peaks(scores, classes, points, kinds=len(EXTREMES))
    heat = finite_array("center_heat", center_heat)
    xy = point.astype(np.int64)
    if heat.ndim != 3 or (class_id >= len(heat)).any():
        raise SpecError(f"center_heat: expected shape (C, H, W) with a map for each class, got {heat.shape}")
    if (xy != point).any() or (xy < 0).any() or (xy >= (heat.shape[2], heat.shape[1])).any():
        raise SpecError("points: expected cells of center_heat")
    peak_threshold = real_number("peak_threshold", peak_threshold)
    center_threshold = real_number("center_threshold", center_threshold)
    center_weight = non_negative("center_weight", center_weight)
    top_k = count("top_k", top_k)

    # QUANTITIES OF THE PAPER: one axis a kind, in the order top, left, bottom, right
    t, le, b, r = np.ogrid[tuple(slice(score.shape[1]) for _ in EXTREMES)]
    y_t, y_l, y_b, y_r = xy[0, t, 1], xy[1, le, 1], xy[2, b, 1], xy[3, r, 1]
    x_t, x_l, x_b, x_r = xy[0, t, 0], xy[1, le, 0], xy[2, b, 0], xy[3, r, 0]
    c = class_id[0, t]
    same_class = (c == class_id[1, le]) & (c == class_id[2, b]) & (c == class_id[3, r]) & (c != -1)
    in_order_down = (y_t <= y_l) & (y_l <= y_b) & (y_t <= y_r) & (y_r <= y_b)
    in_order_across = (x_l <= x_t) & (x_t <= x_r) & (x_l <= x_b) & (x_b <= x_r)
    strong = score >= peak_threshold
    all_strong = strong[0, t] & strong[1, le] & strong[2, b] & strong[3, r]
    center = heat[c, (y_t + y_b) // 2, (x_l + x_r) // 2]
    accepted = same_class & in_order_down & in_order_across & all_strong & (center >= center_threshold)
    s_t, s_l, s_b, s_r = score[0, t], score[1, le], score[2, b], score[3, r]
    total = (s_t + s_l + s_b + s_r + center_weight * center) / (4 + center_weight)

    # RESULT
    found = np.flatnonzero(accepted)
    best = found[np.argsort(-total.reshape(-1)[found], kind="stable")][:top_k]
    members = np.stack(np.unravel_index(best, accepted.shape), axis=1)
    left_top = point[1, members[:, 1], 0], point[0, members[:, 0], 1]
    right_bottom = point[3, members[:, 3], 0], point[2, members[:, 2], 1]
    boxes = np.stack([*left_top, *right_bottom], axis=1)
    return _padded(boxes, total.reshape(-1)[best], class_id[0, members[:, 0]], members, top_k)


def _peaks(scores: ArrayLike, classes: ArrayLike, points: ArrayLike, *, kinds: int) -> tuple[Float, Int, Float]:
    score = finite_array("scores", scores)
    if score.ndim != 2 or len(score) != kinds:
        raise SpecError(f"scores: expected shape ({kinds}, K), got {score.shape}")
    class_id = int_array("classes", classes, low=-1, shape=score.shape)
    return score, class_id, finite_array("points", points, shape=(*score.shape, 2))


def _padded(boxes: Float, scores: Float, classes: Int, members: Int, top_k: int) -> Groups:
    padding = (0, top_k - len(scores))
    return Groups(
        np.pad(boxes, (padding, (0, 0))),
        np.pad(scores, padding),
        np.pad(classes, padding, constant_values=-1),
        np.pad(members, (padding, (0, 0)), constant_values=-1),
    )
