"""Paths and shapes of the source systems: thin adapters over the same services."""
