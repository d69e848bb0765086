"""What the host imports: an ASGI application called `app`."""

from penstock.serverless import app

__all__ = ["app"]
