"""The wanted keys, their modes, and the connection for each. Must not know sockets or frames."""
