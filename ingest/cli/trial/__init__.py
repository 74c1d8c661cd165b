"""Commands to try the recorder without the vendor: a simulated market, a demonstration, measurements."""
