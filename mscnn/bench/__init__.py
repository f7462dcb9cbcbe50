"""Measurements that back the claims of the README: `python -m mscnn.bench step`, `python -m mscnn.bench loader`."""
