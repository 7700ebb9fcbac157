"""Generative methods: examples that the data set lacks are made."""
