"""Who changed what and when: an append-only record beside every change that an admin answers for.

An entry is written in the transaction of the change it tells of, so that neither is there without
the other. Nothing here updates or deletes, and the database itself refuses both.
"""

from penstock.audit.log import AuditLog
from penstock.audit.store import AuditEntry

__all__ = ["AuditEntry", "AuditLog"]
