"""Readers of what microscopes write: a folder -> one row a plane, behind the door `find_index.py`."""
