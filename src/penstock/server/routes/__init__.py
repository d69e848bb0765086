"""Routes of the server itself: system, cache, keys."""
