"""Takes messages off the broker's lists, and keeps no account of tickets there.

kombu writes down in Redis what it hands out, and strikes it off when it is acknowledged: two
transactions for each message, almost half of what the main process of a worker does. A ticket needs
neither. Whether its job runs is in the job's record, and a ticket that was taken by who died before
the claim is issued anew (`rounds.py`). Messages of Celery's own making are noted as ever: until
they are accepted, there is no record of them.
"""

from __future__ import annotations

from typing import Any

from kombu.transport import redis, virtual


class TicketQoS(redis.QoS):
    """What is taken and not acknowledged; of tickets, only this process knows."""

    channel: Any

    def append(self, message: Any, delivery_tag: str) -> None:
        if _is_ticket(message):
            virtual.QoS.append(self, message, delivery_tag)
        else:
            super().append(message, delivery_tag)

    def ack(self, delivery_tag: str) -> None:
        if self._ticket(delivery_tag):
            virtual.QoS.ack(self, delivery_tag)
        else:
            super().ack(delivery_tag)

    def reject(self, delivery_tag: str, requeue: bool = False) -> None:
        if self._ticket(delivery_tag):
            if requeue:
                self.restore_by_tag(delivery_tag)  # to be the next again
            virtual.QoS.ack(self, delivery_tag)
        else:
            super().reject(delivery_tag, requeue)

    def restore_unacked(self, client: Any = None) -> None:
        delivered: Any = self._delivered
        with self.channel.conn_or_acquire(client) as found:
            for tag in reversed(delivered):  # each becomes the next: what was first comes last
                self.restore_by_tag(tag, found)
        delivered.clear()

    def restore_by_tag(self, tag: str, client: Any = None, leftmost: bool = False) -> None:
        ticket = self._ticket(tag)
        if ticket is None:
            super().restore_by_tag(tag, client, leftmost)
            return
        to = ticket.delivery_info
        with self.channel.conn_or_acquire(client) as found:
            self.channel._do_restore_message(
                ticket._raw, to["exchange"], to["routing_key"], found, leftmost
            )

    def _ticket(self, tag: str) -> Any:
        delivered: Any = self._delivered
        message = delivered.get(tag)
        return message if message is not None and _is_ticket(message) else None


def _is_ticket(message: Any) -> bool:
    return "ticket" in message.headers


class Channel(redis.Channel):
    """A channel that keeps account so."""

    QoS = TicketQoS


class Transport(redis.Transport):
    """What a worker reads with, instead of what the scheme of the URL says."""

    Channel = Channel
