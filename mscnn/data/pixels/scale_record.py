"""What a checkpoint or an exported model holds of a scale of intensities."""

from dataclasses import dataclass, field
from typing import Any

import numpy as np


@dataclass(frozen=True, eq=False)
class ScaleRecord:
    """A scale as a checkpoint holds it."""

    facts: dict[str, Any]                                            # "mode" (dataset, field or plate), and numbers as JSON
    arrays: dict[str, np.ndarray] = field(default_factory=dict)      # by name; empty but for plates
