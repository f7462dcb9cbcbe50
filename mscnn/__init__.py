"""Whole-image phenotyping of drug screens with the multi-scale CNN, trained on CPUs."""
