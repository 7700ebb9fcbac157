"""A detector so small that its loss is all there is."""
