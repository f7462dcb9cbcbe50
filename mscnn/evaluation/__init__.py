"""From a checkpoint to predictions, scores and what they are worth."""
