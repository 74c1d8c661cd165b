"""Commands to try the recorder without the vendor: simulator, demo, benchmarks."""
