"""The version of this client; not that of the server."""

__version__ = "0.1.0"
