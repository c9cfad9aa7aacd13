"""Scores lines of text token by token."""
