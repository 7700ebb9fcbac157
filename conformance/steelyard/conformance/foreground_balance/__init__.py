"""Contracts of the foreground-balance techniques."""
