"""N-gram models: estimation, ARPA files, and probabilities."""
