"""What is ours inside `celery worker`.

main process    parts.py (consumer, request, shutdown)    rounds.py (what comes due, who died)
each process    place.py (the loop thread, what is open on it)  ─►  bench.py (claim, run, settle)
of the pool     leases.py (renewed by a thread of its own)
"""
