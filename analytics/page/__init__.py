"""The live page: a process of its own that shows the ingester, its instruments, charts and signals in a browser."""
