"""Reads and writes other programs' n-best lists and lattices."""
