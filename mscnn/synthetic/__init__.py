"""Drawn plates: cells, phenotypes of mechanisms, whole screens in the layout of BBBC021."""
