"""The version, in one place; it is part of every perplexity's signature."""

VERSION = "0.1.0"
