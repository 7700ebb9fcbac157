"""The census of a data set: what `steelyard census` counts, and how it shows it."""
