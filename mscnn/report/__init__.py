"""Draws; computes nothing.  The only folder that imports matplotlib."""
