"""Perplexity under a protocol, and adaptation at test time."""
