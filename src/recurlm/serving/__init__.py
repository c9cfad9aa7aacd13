"""Serves trained models: an engine that advances many texts side by side, sessions, and HTTP."""
