"""Telling the outside what happened: events, the webhooks that they are posted to, and e-mail.

    emit(event) ─► who subscribed? ─► buffer ─► jobs (durable) ─► deliver ─► the receiver's URL
                                                              └─► send ─► the SMTP server

What is posted is signed as Standard Webhooks says, tried again for about a day, and never sent to
an address that may not be dialled. Mail goes to the addresses of the settings.
"""

from penstock.notify.event import TYPES, Event, new_event
from penstock.notify.mail import Mailer, open_server
from penstock.notify.store import Webhook
from penstock.notify.webhooks import Changes, NewWebhook, Webhooks

__all__ = [
    "TYPES",
    "Changes",
    "Event",
    "Mailer",
    "NewWebhook",
    "Webhook",
    "Webhooks",
    "new_event",
    "open_server",
]
