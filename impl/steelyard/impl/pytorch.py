"""PyTorch, or an error that says how to get it."""

try:
    import torch  # noqa: F401
except ModuleNotFoundError as error:
    if error.name != "torch":
        raise
    raise ModuleNotFoundError(
        "steelyard.impl needs PyTorch, which is not installed; pip install 'steelyard[torch]'", name="torch"
    ) from error
