"""Continues prompts by sampling or beam search."""
