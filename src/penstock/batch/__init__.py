"""Many at once: in a request, or in the background where they survive a restart.

    run_batch(items, worker)                         pure: nothing is stored (`runner`)
    Batches(...).create(items, endpoint=...)         stored, run by a job, resumed after a crash

What is done with an item is an Operation, which a service hands over (`operation`).
"""

from penstock.batch.batches import Batches, id_of, new_id
from penstock.batch.operation import Answer, ItemError, Operation
from penstock.batch.progress import Progress
from penstock.batch.records import Batch, File, Item, NewItem
from penstock.batch.runner import Limits, Outcome, run_batch

__all__ = [
    "Answer",
    "Batch",
    "Batches",
    "File",
    "Item",
    "ItemError",
    "Limits",
    "NewItem",
    "Operation",
    "Outcome",
    "Progress",
    "id_of",
    "new_id",
    "run_batch",
]
