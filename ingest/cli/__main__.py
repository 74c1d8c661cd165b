"""`python -m ingest.cli` is `tickline`."""

from ingest.cli import main

main()
