"""Measurements: one file a claim."""
