"""Sigmoid focal loss in JAX, judged without PyTorch.

    steelyard check focal_loss.py --profile quick

The function carries the technique's name, so that no `--as` is needed. Its gradient is jax.vjp's. JAX compiles anew for
every shape, which takes most of the time: `-r FL-1 -r FL-2` looks at value and gradient alone.
"""

import jax
import jax.numpy as jnp
from jax.nn import log_sigmoid


def sigmoid_focal_loss(
    logits: jax.Array, targets: jax.Array, *, alpha: float | None = 0.25, gamma: float = 2.0
) -> jax.Array:
    """Loss of each element: `alpha` weighs the positives, 1 - alpha the negatives, None neither."""
    logits = logits.astype(jnp.promote_types(logits.dtype, jnp.float32))  # half precision is computed in float32
    signed = jnp.where(targets == 1, logits, -logits)
    loss = -jnp.exp(gamma * log_sigmoid(-signed)) * log_sigmoid(signed)
    return loss if alpha is None else jnp.where(targets == 1, alpha, 1 - alpha) * loss


def training_loss(logits: jax.Array, targets: jax.Array) -> jax.Array:
    """What RetinaNet trains with: the sum over the number of positives; `jax.jit` and `jax.grad` take it as it is."""
    return sigmoid_focal_loss(logits, targets).sum() / jnp.maximum(targets.sum(), 1)
