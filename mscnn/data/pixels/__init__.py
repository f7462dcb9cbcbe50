"""From image files or packed fields to the network's input."""
