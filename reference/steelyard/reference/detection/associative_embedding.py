r"""Associative embedding: tags that pull the two corners of an object together and push objects apart.

Source: Law and Deng, "CornerNet", ECCV 2018 (arXiv 1808.01244), section 3.3, after Newell et al., "Associative
Embedding", NIPS 2017 (arXiv 1611.05424).

Each corner of object $k$ carries a number, $e^{tl}_k$ and $e^{br}_k$; their mean is $\bar e_k$. Of N objects:

$$ L_{pull} = \frac1N \sum_k \left[ (e^{tl}_k - \bar e_k)^2 + (e^{br}_k - \bar e_k)^2 \right], \qquad
   L_{push} = \frac{1}{N (N - 1)} \sum_k \sum_{j \ne k} \max(0, \Delta - |\bar e_k - \bar e_j|) $$

These are losses of one image; that of a mini-batch is their mean. CornerNet adds each with weight 0.1. Nothing is
held constant. The authors' code differs: it adds 1e-4 to the denominators, takes j = k into the sum, subtracts its
share again, and sums over the images, so that a single object costs 0.9999 (without a gradient).
"""

import numpy as np
from numpy.typing import ArrayLike

from steelyard.reference.checks import Bool, Float, SpecError, finite_array, mask_array, positive


def pull_loss(top_left_tags: ArrayLike, bottom_right_tags: ArrayLike, *, object_mask: ArrayLike | None = None) -> float:
    r"""$L_{pull}$ of an image: the tags of one object should be equal.

    Parameters
    ----------
    top_left_tags, bottom_right_tags : float, shape (M,)
        $e^{tl}$ and $e^{br}$, finite.
    object_mask : bool, shape (M,), or None
        False for rows that hold no object; N counts the others.

    Returns
    -------
    float
        0 without objects.

    Raises
    ------
    SpecError
        A shape does not fit, a tag is not finite.

    Source
    ------
    Paper, equation 4. Ruling: 0/0 is 0.

    Examples
    --------
    Tags 0.2 apart: two squares of 0.1.

    >>> round(pull_loss([0.0], [0.2]), 6)
    0.02
    """
    # CHECKS
    top_left, bottom_right, _ = _tags(top_left_tags, bottom_right_tags, object_mask)

    # QUANTITIES OF THE PAPER
    mean = (top_left + bottom_right) / 2

    # RESULT
    return float(((top_left - mean) ** 2 + (bottom_right - mean) ** 2).sum() / max(1, len(mean)))


def push_loss(
    top_left_tags: ArrayLike,
    bottom_right_tags: ArrayLike,
    *,
    margin: float = 1.0,
    object_mask: ArrayLike | None = None,
) -> float:
    r"""$L_{push}$ of an image: the mean tags of two objects should be at least $\Delta$ apart.

    Parameters
    ----------
    top_left_tags, bottom_right_tags, object_mask
        As in `pull_loss`.
    margin : float > 0
        $\Delta$ (paper: 1).

    Returns
    -------
    float
        In [0, margin]; 0 with fewer than two objects.

    Raises
    ------
    SpecError
        As `pull_loss`; the margin is not > 0.

    Source
    ------
    Paper, equation 5. Rulings: a sum over no pair is 0; an object is not pushed from itself.

    Examples
    --------
    Means 0.1 and 0.7, 0.6 apart: each of the two ordered pairs lacks 0.4.

    >>> round(push_loss([0.0, 0.5], [0.2, 0.9]), 6)
    0.4
    """
    # CHECKS
    top_left, bottom_right, _ = _tags(top_left_tags, bottom_right_tags, object_mask)
    margin = positive("margin", margin)

    # QUANTITIES OF THE PAPER
    mean = (top_left + bottom_right) / 2
    distance = np.abs(mean[:, None] - mean)
    other = ~np.eye(len(mean), dtype=np.bool_)

    # RESULT
    return float(np.maximum(0.0, margin - distance)[other].mean()) if len(mean) > 1 else 0.0


def pull_loss_grad_top_left_tags(
    top_left_tags: ArrayLike, bottom_right_tags: ArrayLike, *, object_mask: ArrayLike | None = None
) -> Float:
    r"""Derivative of `pull_loss` with respect to the top left tags: $(e^{tl}_k - e^{br}_k) / N$.

    Parameters, errors: as `pull_loss`. Returns float64, shape (M,); 0 where there is no object.

    Source
    ------
    Equation 4, with the mean differentiated too.

    Examples
    --------
    >>> pull_loss_grad_top_left_tags([0.0, 1.0], [0.2, 1.0]).round(6)
    array([-0.1,  0. ])
    """
    # CHECKS
    top_left, bottom_right, mask = _tags(top_left_tags, bottom_right_tags, object_mask)

    # RESULT
    return _spread((top_left - bottom_right) / len(top_left), mask)


def pull_loss_grad_bottom_right_tags(
    top_left_tags: ArrayLike, bottom_right_tags: ArrayLike, *, object_mask: ArrayLike | None = None
) -> Float:
    """Derivative of `pull_loss` with respect to the bottom right tags: minus that of the top left ones.

    Parameters, errors: as `pull_loss`. Returns float64, shape (M,).

    Source
    ------
    Equation 4, with the mean differentiated too.

    Examples
    --------
    >>> pull_loss_grad_bottom_right_tags([0.0, 1.0], [0.2, 1.0]).round(6) + 0.0
    array([0.1, 0. ])
    """
    # RESULT
    return -pull_loss_grad_top_left_tags(top_left_tags, bottom_right_tags, object_mask=object_mask)


def push_loss_grad_top_left_tags(
    top_left_tags: ArrayLike,
    bottom_right_tags: ArrayLike,
    *,
    margin: float = 1.0,
    object_mask: ArrayLike | None = None,
) -> Float:
    r"""Derivative of `push_loss` with respect to the top left tags.

    Half of

    $$ \frac{\partial L_{push}}{\partial \bar e_k} = -\frac{2}{N (N - 1)} \sum_{j \ne k}
       [\,|\bar e_k - \bar e_j| < \Delta\,] \, \mathrm{sign}(\bar e_k - \bar e_j) $$

    At a distance of 0 or $\Delta$, where the loss has a kink, a pair contributes 0.

    Parameters, errors: as `push_loss`. Returns float64, shape (M,); 0 where there is no object.

    Source
    ------
    Equation 5.

    Examples
    --------
    >>> push_loss_grad_top_left_tags([0.0, 0.5], [0.2, 0.9])
    array([ 0.5, -0.5])
    """
    # CHECKS
    top_left, bottom_right, mask = _tags(top_left_tags, bottom_right_tags, object_mask)
    margin = positive("margin", margin)

    # QUANTITIES OF THE PAPER
    mean = (top_left + bottom_right) / 2
    difference = mean[:, None] - mean
    pushed = np.where(np.abs(difference) < margin, np.sign(difference), 0.0)

    # RESULT
    return _spread(-pushed.sum(axis=1) / (len(mean) * max(1, len(mean) - 1)), mask)


def push_loss_grad_bottom_right_tags(
    top_left_tags: ArrayLike,
    bottom_right_tags: ArrayLike,
    *,
    margin: float = 1.0,
    object_mask: ArrayLike | None = None,
) -> Float:
    """Derivative of `push_loss` with respect to the bottom right tags: equal to that of the top left ones.

    Parameters, errors: as `push_loss`. Returns float64, shape (M,).

    Source
    ------
    Equation 5: both tags enter by their mean only.

    Examples
    --------
    >>> push_loss_grad_bottom_right_tags([0.0, 0.5], [0.2, 0.9])
    array([ 0.5, -0.5])
    """
    # RESULT
    return push_loss_grad_top_left_tags(top_left_tags, bottom_right_tags, margin=margin, object_mask=object_mask)


def _tags(
    top_left_tags: ArrayLike, bottom_right_tags: ArrayLike, object_mask: ArrayLike | None
) -> tuple[Float, Float, Bool]:
    """Tags of the objects, and where they stand."""
    top_left = finite_array("top_left_tags", top_left_tags)
    if top_left.ndim != 1:
        raise SpecError(f"top_left_tags: expected shape (M,), got {top_left.shape}")
    bottom_right = finite_array("bottom_right_tags", bottom_right_tags, shape=top_left.shape)
    mask = mask_array("object_mask", object_mask, top_left.shape)
    return top_left[mask], bottom_right[mask], mask


def _spread(gradient: Float, mask: Bool) -> Float:
    everywhere = np.zeros(mask.shape)
    everywhere[mask] = gradient
    return everywhere
