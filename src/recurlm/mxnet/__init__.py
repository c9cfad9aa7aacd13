"""Reads and writes MXNet's files without MXNet."""
