"""One training run, and all that it saves."""
