"""Run folders: what a run is, its files, its model."""
