"""Words in messages that depend on a number."""


def counted(number: int, noun: str) -> str:
    """A count and its noun, such as "1 epoch" or "16,000 epochs"; `noun` is the singular, its plural ends in s."""
    return f"{number:,} {noun if number == 1 else plural(noun)}"


def plural(noun: str) -> str:
    """The plural of the nouns that messages count."""
    if noun.endswith(("s", "x", "sh", "ch")):
        return f"{noun}es"
    return f"{noun[:-1]}ies" if noun.endswith("y") and noun[-2] not in "aeiou" else f"{noun}s"
