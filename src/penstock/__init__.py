"""Penstock stands between an application and its AI: cache, queue, honest answers."""

from __future__ import annotations

__version__ = "0.1.0"
