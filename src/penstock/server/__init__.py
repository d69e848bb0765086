"""The HTTP server: the services and the layer put together behind one address."""
