"""Measurements that back the claims of the README: `python -m mscnn.bench step`."""
