"""Which keys are wanted in which mode, and on which connection. Must not know sockets or frames."""
