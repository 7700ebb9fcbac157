"""Contracts of the detection techniques."""
