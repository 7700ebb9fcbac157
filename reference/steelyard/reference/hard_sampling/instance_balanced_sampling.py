r"""Instance-balanced positive sampling (Libra R-CNN): equal numbers of positives from each object.

Source: Pang et al., "Libra R-CNN: Towards Balanced Learning for Object Detection", CVPR 2019 (arXiv 1904.02701),
section 3.1, last paragraph; the authors' code (`InstanceBalancedPosSampler`, also in mmdet) for the numbers.

A large object has many proposals that overlap it enough, a small one has few. A quota for each object keeps the small
one in the sample.
"""

import numpy as np
from numpy.typing import ArrayLike

from steelyard.reference.checks import Bool, Float, Int, SpecError, count, int_array, key_array
from steelyard.reference.hard_sampling.keyed_draws import draw_by_groups, probabilities_by_groups


def instance_balanced_positives(
    instances: ArrayLike, keys: ArrayLike, fill_keys: ArrayLike, *, num_positives: int = 128
) -> Bool:
    r"""Draw the positives of each image's sample, balanced over the objects they belong to.

    Of $P$ positives that belong to $G$ objects, $n$ are drawn if there are more. Each object gives up to
    $s = \mathrm{round}(n / G) + 1$ of its own (half to even). If these are fewer than $n$, the rest is drawn from all
    other positives alike; if they are more, all of them have the same chance to be among the $n$ that stay.

    Parameters
    ----------
    instances : int >= -1, shape (..., N)
        The object that a positive belongs to; -1 for all that is no positive.
    keys : float in [0, 1), shape of `instances`
        One random number a candidate, for the draw from each object: the smallest are drawn.
    fill_keys : float in [0, 1), shape of `instances`
        Another one, for those that are drawn besides, or that stay.
    num_positives : int >= 0
        $n$ (authors' code: 128, a quarter of 512).

    Returns
    -------
    bool, shape of `instances`
        min(n, P) positives of each image.

    Raises
    ------
    SpecError
        Shapes differ, a key is not in [0, 1), an instance or the number is out of range.

    Source
    ------
    Section 3.1 names the idea; the numbers are the authors' code's. Ruling: n different positives, which mmdet 3.3.0
    means but does not do: in the place of those drawn already it may draw the same ones again.

    Examples
    --------
    Three of five positives; each object gives up to round(3 / 2) + 1 = 3, four in all, one of which is dropped.

    >>> keys = [0.1, 0.2, 0.3, 0.4, 0.5, 0.6]
    >>> instance_balanced_positives([0, 0, 0, 0, 7, -1], keys, keys[::-1], num_positives=3)
    array([False,  True,  True, False,  True, False])
    """
    # CHECKS
    key = key_array("keys", keys)
    fill_key = key_array("fill_keys", fill_keys, shape=key.shape)
    instance = int_array("instances", instances, low=-1, shape=key.shape)
    num_positives = count("num_positives", num_positives, low=0)

    # QUANTITIES OF THE PAPER
    drawn = np.empty(instance.shape, dtype=np.bool_)
    for image in np.ndindex(instance.shape[:-1]):
        quota = _quota(instance[image], num_positives)
        drawn[image] = draw_by_groups(instance[image], key[image], fill_key[image], quota=quota, total=num_positives)

    # RESULT
    return drawn


def instance_balanced_probabilities(instances: ArrayLike, *, num_positives: int = 128) -> tuple[Float, Float]:
    """Exact probability of each candidate, and of each pair, to be drawn by `instance_balanced_positives`.

    Parameters
    ----------
    instances : int >= -1, shape (N,)
        As in `instance_balanced_positives`, of one image.
    num_positives : int >= 0
        As in `instance_balanced_positives`.

    Returns
    -------
    float64, shape (N,), and float64, shape (N, N)
        Of candidates, and of pairs; on the diagonal the candidates' own.

    Raises
    ------
    SpecError
        As `instance_balanced_positives`.

    Source
    ------
    Sampling without replacement.

    Examples
    --------
    Three of five positives as above: the object of one gives it, then three of four stay; 3/4 and 3/4 * 3/4.

    >>> single, _ = instance_balanced_probabilities([0, 0, 0, 0, 7, -1], num_positives=3)
    >>> single
    array([0.5625, 0.5625, 0.5625, 0.5625, 0.75  , 0.    ])
    """
    # CHECKS
    instance = int_array("instances", instances, low=-1)
    if instance.ndim != 1:
        raise SpecError(f"instances: expected shape (N,), got {instance.shape}")
    num_positives = count("num_positives", num_positives, low=0)

    # RESULT
    return probabilities_by_groups(instance, quota=_quota(instance, num_positives), total=num_positives)


def _quota(instance: Int, num_positives: int) -> int:
    """Of each object, at most."""
    objects = np.unique(instance[instance >= 0]).size
    return round(num_positives / max(objects, 1)) + 1
