"""Words for numbers of things."""


def number_of(number: int, noun: str) -> str:
    """Return "1 compound", "2 compounds", "1,200 fields": the plural is the noun and an s."""
    return f"{number:,} {noun}{'' if number == 1 else 's'}"
