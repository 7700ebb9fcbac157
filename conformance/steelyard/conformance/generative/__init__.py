"""Contracts of the generative techniques."""
