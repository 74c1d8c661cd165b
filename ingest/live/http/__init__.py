"""The HTTP API: its port, its routes, who may ask, and the limits of a request."""
