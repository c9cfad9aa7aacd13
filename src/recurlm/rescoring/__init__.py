"""Rescores n-best lists of a speech recognizer."""
