"""Measurements: `python -m mscnn.bench step|loader|curves|collective|scaling`."""
