"""The durable engine in one SQLite file: no server beside the process."""
