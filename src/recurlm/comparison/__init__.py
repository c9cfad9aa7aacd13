"""Compares models on the same text: paired statistics, mixtures."""
