"""N-gram models: estimation, ARPA files, probabilities."""
