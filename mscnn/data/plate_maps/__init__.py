"""Plate maps and tables of compounds: which compound, dose and mechanism each well has."""
