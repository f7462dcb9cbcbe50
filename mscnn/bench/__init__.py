"""Measure steps, loader, collectives and scaling.  `mscnn bench --help` lists the commands."""
