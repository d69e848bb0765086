"""Sharing: what the processes of one installation have in common."""

from penstock.hub.hub import Grant, Hub, Message
from penstock.hub.local import LocalHub

__all__ = ["Grant", "Hub", "LocalHub", "Message"]
