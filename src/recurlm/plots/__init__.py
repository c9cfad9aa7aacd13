"""Pictures from run logs and models."""
