"""Telling the outside what happened: events, and the webhooks that they are posted to.

    emit(event) ─► who subscribed? ─► buffer ─► jobs (durable) ─► deliver ─► the receiver's URL

What is posted is signed as Standard Webhooks says, tried again for about a day, and never sent to
an address that may not be dialled.
"""

from penstock.notify.event import TYPES, Event, new_event
from penstock.notify.store import Webhook
from penstock.notify.webhooks import Changes, NewWebhook, Webhooks

__all__ = ["TYPES", "Changes", "Event", "NewWebhook", "Webhook", "Webhooks", "new_event"]
