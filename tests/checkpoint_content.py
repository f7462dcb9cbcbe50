"""What two checkpoints have in common: a SHA-256 over all that is in one, but for some settings."""

import json

from torch import Tensor

from mscnn.training import checkpoint
from mscnn.training.checkpoint import Checkpoint


def content_digest(saved: Checkpoint, *without: str) -> str:
    """Return the SHA-256 of a checkpoint's content; without: settings that may differ, such as where the run lies."""
    tensors: dict[str, Tensor] = {}
    content = checkpoint._content(saved)
    content["settings"] = {name: value for name, value in saved.settings.items() if name not in without}
    return checkpoint.digest(json.dumps(checkpoint._without_tensors(content, "", tensors, {})), tensors)
