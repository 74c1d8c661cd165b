"""One stream from journal record to committed batch, live and in a replay. Must not know sockets or HTTP."""
