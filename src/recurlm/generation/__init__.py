"""Draws and searches continuations of a prompt."""
