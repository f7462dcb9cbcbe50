"""Whole-image phenotyping of drug screens with the multi-scale CNN, trained on CPUs.

    import mscnn

    run = mscnn.load_run("runs/demo")
    table = mscnn.read_screen(bbbc021="plates")
    probabilities = run.predict(table)

`import mscnn` loads neither torch nor pandas; each name below loads what it needs when it is first used.
"""

import importlib
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from mscnn.library.run import Explanation, Run, load_run
    from mscnn.library.scores import TableScores, score_profiles
    from mscnn.library.screen import read_screen

__version__ = "0.2.0"  # the only place: pyproject.toml reads it from here
__all__ = ["Explanation", "Run", "TableScores", "__version__", "load_run", "read_screen", "score_profiles"]
_HOMES = {"load_run": "run", "Run": "run", "Explanation": "run", "read_screen": "screen", "score_profiles": "scores",
          "TableScores": "scores"}  # by name, the module of mscnn.library that defines it


def __getattr__(name: str) -> Any:
    """Import a public name when it is first used (PEP 562)."""
    if name not in _HOMES:
        raise AttributeError(f"module 'mscnn' has no attribute {name!r}; it has {', '.join(sorted(__all__))}")
    return getattr(importlib.import_module(f"mscnn.library.{_HOMES[name]}"), name)


def __dir__() -> list[str]:
    """Return the public names, and those of the modules that are loaded."""
    return sorted({*globals(), *__all__})
