"""Fast operations, one per file, each beside a plain reference with the same signature."""
