"""Numbers under a protocol: perplexity, scores of single tokens, samples."""
