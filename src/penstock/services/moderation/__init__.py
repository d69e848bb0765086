"""Moderation: a text goes in, a verdict that says why comes out."""
