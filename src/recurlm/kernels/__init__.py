"""Fast paths, one operation a file, each beside a plain reference with the same signature."""
