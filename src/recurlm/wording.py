"""Words in messages that depend on a number."""


def counted(number: int, singular: str, plural: str = "") -> str:
    """A count and its noun, such as "1 epoch" or "16,000 epochs"; without `plural` the singular and an s."""
    return f"{number:,} {singular if number == 1 else plural or f'{singular}s'}"
