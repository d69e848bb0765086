"""Pure ASGI middleware: request ids, timing, problem documents, body limits. No framework."""
