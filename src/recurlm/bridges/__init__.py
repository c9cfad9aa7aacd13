"""Other systems' file formats."""
