"""Sharing: what the processes of one installation have in common."""

from penstock.hub.factory import open_hub
from penstock.hub.hub import Grant, Hub, HubStatus, Lease, Message
from penstock.hub.local import LocalHub

__all__ = ["Grant", "Hub", "HubStatus", "Lease", "LocalHub", "Message", "open_hub"]
