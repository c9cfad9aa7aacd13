"""Chooses values of a recipe by validation."""
