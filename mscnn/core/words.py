"""Words for numbers: counted(1, "compound") is "1 compound".   pytest tests/core/test_words.py"""


def counted(number: int, noun: str, plural: str = "") -> str:
    """Return the number, with commas between thousands, and the noun. plural: where it is not the noun with an s."""
    return f"{number:,} {noun if number == 1 else plural or noun + 's'}"
