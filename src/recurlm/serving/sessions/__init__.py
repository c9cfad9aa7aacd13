"""Sessions: texts that a model has read, each held as a state of a few kilobytes."""
