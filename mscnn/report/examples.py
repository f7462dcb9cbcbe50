"""The report's examples: wrong treatments beside what they should look like, the clearest right ones, and new hits.

    pytest tests/report/test_examples.py
"""

from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path

from mscnn.report import choose_examples, data_urls
from mscnn.report.run import Example


@dataclass(frozen=True)
class ShownExample:
    """An example with its pictures as data URLs, and those that stand beside it."""

    example: Example
    field: str
    channels: list[str]
    scales: list[str]
    beside: list["ShownExample"]


@dataclass(frozen=True)
class ShownExamples:
    """All that the template shows of examples."""

    wrong: list[ShownExample]             # the surest first
    right: dict[str, list[ShownExample]]  # {mechanism: the surest first}
    new: list[ShownExample]
    wrongs: int                           # wrong ones in all galleries; more may not be shown


@dataclass(frozen=True)
class _Found:
    """An example of one gallery, and those of the gallery that stand beside it."""

    folder: Path
    example: Example
    beside: list[Example]


def shown(gallery: list[tuple[Path, Example]]) -> ShownExamples | None:
    """Return the examples of all galleries together; None without any. gallery: folder and example, in their order."""
    found = [each for folder in dict.fromkeys(folder for folder, _ in gallery)
             for each in _of_gallery(folder, [example for of, example in gallery if of == folder])]
    if not found:
        return None
    wrong, right, new = ([each for each in found if _kind(each.example) == kind] for kind in ("wrong", "right", "new"))
    mechanisms = sorted({each.example.mechanism for each in right})
    return ShownExamples(
        wrong=_pictured(_surest(wrong)[:choose_examples.WRONG]), wrongs=len(wrong),
        new=_pictured(new[:choose_examples.NEW]),
        right={mechanism: _pictured(_spread(each for each in right if each.example.mechanism == mechanism))
               for mechanism in mechanisms})


def _of_gallery(folder: Path, examples: list[Example]) -> list[_Found]:
    return [_Found(folder, example, [each for each in examples if each.pair == number])
            for number, example in enumerate(examples) if example.pair is None]


def _kind(example: Example) -> str:
    """Return the kind; right or wrong of an example that an earlier version wrote."""
    return example.kind or ("right" if example.predicted == example.mechanism else "wrong")


def _surest(found: Iterable[_Found]) -> list[_Found]:
    return sorted(found, key=lambda each: -(each.example.probability or 0))


def _spread(found: Iterable[_Found]) -> list[_Found]:
    """Return the surest examples of a mechanism, each compound once before any comes twice."""
    turns: dict[str, int] = {}
    ordered = []
    for each in _surest(found):
        turns[each.example.compound] = turns.get(each.example.compound, -1) + 1
        ordered.append((turns[each.example.compound], each))
    return [each for _, each in sorted(ordered, key=lambda item: item[0])][:choose_examples.RIGHT]


def _pictured(found: list[_Found]) -> list[ShownExample]:
    return [with_pictures(each.folder, each.example, each.beside) for each in found]


def with_pictures(folder: Path, example: Example, beside: Iterable[Example] = ()) -> ShownExample:
    """Return an example with its pictures. Raises DataError where one is missing or elsewhere."""
    files = example.files
    return ShownExample(example, data_urls.of_file(folder, files.field),
                        [data_urls.of_file(folder, name) for name in files.channels],
                        [data_urls.of_file(folder, name) for name in files.scales],
                        [with_pictures(folder, each) for each in beside])
