"""Results of several candidates as one page: the matrix of `steelyard report`."""
