"""The network."""

from mscnn.model.mcnn import MCNN, NUM_FEATURES, require_fitting_size

__all__ = ["MCNN", "NUM_FEATURES", "require_fitting_size"]
