"""Task queues of others, each with the same two tasks, driven by `python -m benchmarks.peers`."""
