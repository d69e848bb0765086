"""A team's own lists: what to block, allow or review, by words, patterns and hashes.

    lists (what users change) ─► store ─► index: what this process knows, kept up to date
    text, image ─► scopes: everyone's, the key's own ─► matcher: words, patterns, hashes
                                                     ─► listed: what the lists say

A change acts on the next request of every process. `entries` are checked before they are taken,
`files` are how they come in and go out by the thousand, `quotas` how much of them there may be.
"""

from penstock.lists.listed import NOTHING, Listed, ListHit
from penstock.lists.lists import Lists

__all__ = ["NOTHING", "ListHit", "Listed", "Lists"]
