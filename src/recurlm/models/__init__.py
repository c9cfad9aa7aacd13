"""The model: cells (the equations), the stack (layers over time), the language model (ids to logits)."""
