"""Print the coverage of the last `make coverage` by room: lines and branches, and the files that miss most.

What runs in processes of its own (`tickline start` in fault tests) is not counted.
"""

from __future__ import annotations

import json
import subprocess
import sys
from collections import Counter, defaultdict
from collections.abc import Mapping
from pathlib import PurePath

from rich import print as rich_print
from rich.table import Column, Table

FIELDS = ("num_statements", "covered_lines", "num_branches", "covered_branches")
FILES_MAX = 10


def room_of(path: str) -> str:
    """Return the room of a file; files that lie in no room belong to their package."""
    return "/".join(PurePath(path).parts[:2]) if len(PurePath(path).parts) > 2 else PurePath(path).parts[0]


def by_room(summaries: Mapping[str, Mapping[str, int]]) -> dict[str, Counter[str]]:
    """Add up the summaries of files by room, and of all under "total"."""
    rooms: defaultdict[str, Counter[str]] = defaultdict(Counter)
    for path, summary in sorted(summaries.items()):
        for name in (room_of(path), "total"):
            rooms[name].update({field: summary[field] for field in FIELDS})
    return {name: rooms[name] for name in sorted(rooms, key=lambda name: (name == "total", name))}


def share(covered: int, of: int) -> str:
    """Return a share in per cent, rounded down; nothing to cover is a dash."""
    return f"{100 * covered // of} %" if of else "-"


def _figure(header: str) -> Column:
    return Column(header, justify="right")


def main() -> None:
    """Read the data that coverage has left, and print both tables."""
    command = [sys.executable, "-m", "coverage", "json", "-q", "-o", "-"]
    files = json.loads(subprocess.run(command, check=True, capture_output=True).stdout)["files"]
    summaries = {path: file["summary"] for path, file in files.items()}
    rooms = Table("room", *map(_figure, ("lines", "lines reached", "branches", "branches reached")), box=None)
    for name, room in by_room(summaries).items():
        lines, covered, branches, taken = (room[field] for field in FIELDS)
        rooms.add_row(name, str(lines), share(covered, lines), str(branches), share(taken, branches))
    worst = Table("file", _figure("lines missed"), box=None)
    for path in sorted(summaries, key=lambda path: -summaries[path]["missing_lines"])[:FILES_MAX]:
        worst.add_row(path, str(summaries[path]["missing_lines"]))
    rich_print(rooms, worst, sep="\n\n")


if __name__ == "__main__":
    main()
