"""The hub over Redis, for servers on several machines.

    requests ─► ledger (memory) ◄─► link ◄─► Redis: log, clock, generations
            ├─► rates (shares of limits) ◄─► Redis: one number per limit
            └─► leases, counters ◄─► Redis: awaited, bounded

What requests ask is answered from memory. Redis may go at any time: this process then works on
what it last heard, keeps what it has to tell, and catches up when Redis is back.
"""

from penstock.hub.redis.hub import RedisHub

__all__ = ["RedisHub"]
