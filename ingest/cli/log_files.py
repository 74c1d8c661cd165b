"""Log files under `TICKLINE_HOME/logs`: tickline.log, errors.log and signals.log.

Owns which line goes where, the rotation, and the thread that writes them. Several processes of one home write
the same files: each line is one append, whoever finds a file full renames it, and the others notice that and open
the new one. Nothing waits for a lock or for the disk. A file that cannot be written is reported once on stderr, and
tried again with each line. Must not know what is logged.
"""

from __future__ import annotations

import fcntl
import logging
import os
import queue
import sys
import threading
import time
from contextlib import suppress
from datetime import UTC, datetime
from pathlib import Path
from typing import TYPE_CHECKING

from ingest.cli.log_lines import JsonLine, TextLine
from ingest.errors import ConfigError
from ingest.market.shown_time import ist

if TYPE_CHECKING:
    from collections.abc import Callable

    from ingest.settings import LogSettings

LINES_MAX = 10_000  # waiting for the disk; 2 MB; more are dropped and counted
CLOSE_S = 2.0  # how long the end of a command waits for the disk
SIGNALS = "analytics.signals.log"  # the logger whose messages are lines of signals.log
LOCK = ".lock"  # held only to rename full files


class RotatingFile:
    """A file that several processes append to and rotate.

    Parameters
    ----------
    path
        The file; full ones get the suffixes .1 (newest), .2, …
    bytes_max
        Size from which a file is full.
    files_max
        Number of full files that are kept.
    """

    def __init__(self, path: Path, *, bytes_max: int, files_max: int) -> None:
        self.path = path
        self._bytes_max, self._files_max = bytes_max, files_max
        self._file: int | None = None
        self._is_torn = False

    def append(self, text: str) -> None:
        """Append a text and a line break; raise OSError if that fails."""
        size = self._current_size()
        if size >= self._bytes_max:
            self._rotate()
            self._current_size()
        assert self._file is not None
        line = f"{chr(10) if self._is_torn else ''}{text}\n".encode(errors="replace")
        written = os.write(self._file, line)
        self._is_torn = written < len(line)
        if self._is_torn:
            os.write(self._file, line[written:])  # raises the reason; the line is lost
            self._is_torn = False

    def close(self) -> None:
        """Close the file."""
        if self._file is not None:
            os.close(self._file)
            self._file = None

    def _current_size(self) -> int:
        """Open the file unless it is open and still has its name; return its size in bytes."""
        if self._file is not None:
            opened = os.fstat(self._file)
            with suppress(FileNotFoundError):
                named = self.path.stat()
                if (named.st_dev, named.st_ino) == (opened.st_dev, opened.st_ino):
                    return opened.st_size
            self.close()
        else:
            self.path.parent.mkdir(parents=True, exist_ok=True)  # only now: a home that was removed stays removed
        self._file = os.open(self.path, os.O_WRONLY | os.O_APPEND | os.O_CREAT | os.O_CLOEXEC, 0o644)
        return os.fstat(self._file).st_size

    def _rotate(self) -> None:
        """Rename full files, unless another process does so now or has done so."""
        lock = os.open(self.path.parent / LOCK, os.O_WRONLY | os.O_CREAT | os.O_CLOEXEC, 0o644)
        try:
            fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
            if os.path.lexists(self.path) and self.path.stat().st_size >= self._bytes_max:
                for number in range(self._files_max, 0, -1):
                    older = self.path if number == 1 else self._kept(number - 1)
                    with suppress(FileNotFoundError):
                        older.replace(self._kept(number))
                for path in self.path.parent.glob(f"{self.path.name}.*"):  # the number kept may be less than before
                    if path.suffix[1:].isdecimal() and int(path.suffix[1:]) > self._files_max:
                        path.unlink(missing_ok=True)
        except BlockingIOError:
            pass
        finally:
            os.close(lock)

    def _kept(self, number: int) -> Path:
        return self.path.with_name(f"{self.path.name}.{number}")


class _Handler(logging.Handler):
    """Format records of a level for one file, and queue the lines."""

    def __init__(self, put: Callable[[RotatingFile, str], None], file: RotatingFile, level: int = 0) -> None:
        super().__init__(level)
        self._put, self.file = put, file

    def emit(self, record: logging.LogRecord) -> None:
        try:
            self._put(self.file, self.format(record))
        except Exception:
            self.handleError(record)


class LogFiles:
    """The log files of a command, from now until `close`; opened by the first line for them.

    Parameters
    ----------
    settings
        Where they are, their form and size.
    command
        Name of the command, which each line has.
    """

    def __init__(self, settings: LogSettings, command: str) -> None:
        self._folder = settings.home / "logs"
        self._lines: queue.Queue[tuple[RotatingFile, str] | None] = queue.Queue(LINES_MAX)
        self._thread: threading.Thread | None = None
        self._dropped = 0
        self._failed: set[Path] = set()
        limits = {"bytes_max": settings.log_file_bytes_max, "files_max": settings.log_files_max}
        form = JsonLine(command) if settings.log_format == "json" else TextLine(command)
        self._handlers: list[_Handler] = []
        for name, level in (("tickline.log", logging.DEBUG), ("errors.log", logging.WARNING)):
            handler = _Handler(self._put, RotatingFile(self._folder / name, **limits), level)
            handler.setFormatter(form)
            logging.getLogger().addHandler(handler)
            self._handlers.append(handler)
        self._signals = _Handler(self._put, RotatingFile(self._folder / "signals.log", **limits))
        _move_signals(settings.home / "signals.log", self._folder / "signals.log")
        logger = logging.getLogger(SIGNALS)
        logger.addHandler(self._signals)
        logger.setLevel(logging.INFO)  # whatever the level of the log is, signals are no log
        logger.propagate = False

    def failed(self, text: str, *, exc_info: bool = False) -> None:
        """Record the error that ends the command; stderr gets it from the command itself."""
        information = sys.exc_info() if exc_info else None
        record = logging.LogRecord("tickline", logging.ERROR, "", 0, "%s", (text,), information)
        for handler in self._handlers:
            handler.handle(record)

    def close(self) -> None:
        """Stop logging to files, once the queued lines are written or `CLOSE_S` have passed."""
        for handler in self._handlers:
            logging.getLogger().removeHandler(handler)
        logging.getLogger(SIGNALS).removeHandler(self._signals)
        if self._thread is not None:
            with suppress(queue.Full):
                self._lines.put(None, timeout=CLOSE_S)
                self._thread.join(CLOSE_S)

    def _put(self, file: RotatingFile, line: str) -> None:
        if self._thread is None:
            self._thread = threading.Thread(target=self._write, name="log files", daemon=True)
            self._thread.start()
        try:
            self._lines.put_nowait((file, line))
        except queue.Full:
            self._dropped += 1

    def _write(self) -> None:
        while (item := self._lines.get()) is not None:
            file, line = item
            try:
                if self._dropped:
                    dropped, self._dropped = self._dropped, 0
                    file.append(f"log lines were dropped because the disk was slow lines={dropped}")
                file.append(line)
                self._failed.discard(file.path)
            except OSError as exc:
                file.close()
                if file.path not in self._failed:
                    self._failed.add(file.path)
                    _say(f"log {str(file.path)!r} cannot be written: {exc.strerror}: free space or correct its rights")
        for handler in (*self._handlers, self._signals):
            handler.file.close()


def log_settings() -> LogSettings | None:
    """Return the settings of the log; None if settings are wrong, which the command itself then says."""
    from ingest.database.settings import load
    from ingest.settings import LogSettings

    try:
        return load(LogSettings)
    except ConfigError:
        return None


def _move_signals(old: Path, new: Path) -> None:
    """Move the signals of an earlier version, once; leave them where they are if that fails."""
    with suppress(OSError):
        if old.is_file() and not new.exists():
            new.parent.mkdir(exist_ok=True)
            old.rename(new)


def _say(text: str) -> None:
    """Tell people; not by logging, which would come back here."""
    with suppress(OSError, ValueError):
        sys.stderr.write(f"{ist(datetime.fromtimestamp(round(time.time()), UTC))} WARNING {text}\n")
        sys.stderr.flush()
