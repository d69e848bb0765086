"""Images as bytes from strangers: what they are, and which known ones they look like.

    open_image(data) ─► Picture ─┬► hashes(picture) ─► Hashes ─► HashIndex.nearest(variants)
                                 └► view(picture) ─► JPEG for a model that sees

Nothing here asks a network, a database or a model.
"""

from __future__ import annotations

from penstock.images.formats import FORMATS, sniff
from penstock.images.hashing import MIN_QUALITY, VERSION, Hashes, hashes
from penstock.images.index import HashIndex, Near
from penstock.images.picture import HASH_SIDE, LIMITS, Limits, Picture, check_kind, open_image
from penstock.images.view import VIEW_SIDE, VIEW_TYPE, view

__all__ = [
    "FORMATS",
    "HASH_SIDE",
    "LIMITS",
    "MIN_QUALITY",
    "VERSION",
    "VIEW_SIDE",
    "VIEW_TYPE",
    "HashIndex",
    "Hashes",
    "Limits",
    "Near",
    "Picture",
    "check_kind",
    "hashes",
    "open_image",
    "sniff",
    "view",
]
