"""Review: what the machine leaves open, people decide, and the machine remembers.

    refer ─► placing: alike a live case? joins it : a new one ─► claim, comment, escalate ─► decide
    appeal ─┘                                                                                  │
             settling: exact repeats follow (lists), what was overturned is forgotten ◄────────┘

/v1/cases and /v1/appeals (`api`; `views` are its requests and responses).

Beyond the shape that all services share: `similar` says which items are so much alike that one
decision may stand for all; `placing` finds the case that an item belongs to; `settling` does what
follows from a decision, `telling` says so; `refusals` say why something may not be; `workload` has
the numbers. Beside `store` there are `finding_store` (in which case something is, or could be),
`content_store` (what a case decides on), `queue_store` (what to work on next), `keeping_store`
(what is kept after a decision, and for how long) and `workload_store`. All that changes cases
writes through `alone_store`: of what is alike one writer at a time, on however many servers.
"""

from penstock.services.review.service import ReviewService

__all__ = ["ReviewService"]
