"""The model: cells (the equations), the stack (layers over time), and the language model (ids to logits)."""
