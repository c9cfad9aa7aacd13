"""Measurements: each module is a program, `python -m benchmarks NAME` runs it."""
