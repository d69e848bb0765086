"""The engine on Celery and Redis: accepts jobs here, runs them in Celery's own workers.

engine.py   what a process that enqueues and looks has      store.py, records.py  the read side
lua/        every change of a job, one atomic script each   remote.py             calls them
app.py      the Celery application                          beat.py               its scheduler
worker/     what is ours inside `celery worker`

A message in a broker list is a ticket: it lets a worker claim the job that it names. What a job is,
its record says, which is in the same Redis and changes in the same step: docs/adr/0023.
"""
