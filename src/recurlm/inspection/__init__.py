"""Shows what a model's memory holds: values over a text, units that hold a span, and how long a word is remembered."""
