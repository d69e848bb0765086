"""Trains the local models that ship with the package, and says how good they are. Not part of the wheel."""
