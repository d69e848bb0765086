"""Seeing what happens: metrics, logs and health."""
