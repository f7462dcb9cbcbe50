"""Whole-image phenotyping of drug screens with the multi-scale CNN, trained on CPUs."""

__version__ = "0.2.0"
