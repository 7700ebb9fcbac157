"""Foreground balance: classes, data sets and mini-batches where the few are not drowned by the many."""
