"""Set-up, steps, validation, checkpoints and the picture on the terminal while it runs."""
