"""Scores one text or many: what a file of scores contains, and which processes write which file."""
