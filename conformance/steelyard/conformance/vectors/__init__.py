"""Frozen vectors: inputs, right answers, and how far one may be from them, as files for any language."""
