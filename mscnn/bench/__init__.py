"""Measure steps, loader, collectives and scaling.  `python -m mscnn.bench --help` lists the commands."""
