"""Running one attempt of a job, whatever engine it came from, and saying once how it ended.

run.py      Execution: starts, cancels and stops all three kinds; coroutines are here
threads.py  plain functions          process.py  those in a process of their own (child.py)
attempt.py  what the kinds share     failure.py  what an exception means
held.py     names the coroutine that holds the event loop
"""
