"""Trains the local models and says how good they are. Not part of the wheel."""
