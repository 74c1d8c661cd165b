"""Files that are replaced as a whole."""

from __future__ import annotations

import os
import stat
from pathlib import Path

import pytest

from ingest.files import PRIVATE, replace_file, replaced


def test_file_that_is_replaced_has_the_new_content_and_nothing_lies_beside_it(tmp_path: Path) -> None:
    path = tmp_path / "habits.json"
    replace_file(path, b"old")
    replace_file(path, b"new")
    assert path.read_bytes() == b"new"
    assert list(tmp_path.iterdir()) == [path]


def test_error_while_writing_leaves_the_old_file_and_nothing_beside_it(tmp_path: Path) -> None:
    path = tmp_path / "ticks.parquet"
    path.write_bytes(b"old")
    with pytest.raises(ZeroDivisionError), replaced(path) as beside:
        beside.write_bytes(b"half")
        _ = 1 / 0
    assert path.read_bytes() == b"old"
    assert list(tmp_path.iterdir()) == [path]


def test_folder_that_is_absent_is_told_as_it_is(tmp_path: Path) -> None:
    with pytest.raises(FileNotFoundError):
        replace_file(tmp_path / "absent" / "file", b"")


def test_private_file_is_private_though_another_process_left_one_beside_it(tmp_path: Path) -> None:
    path = tmp_path / ".env"
    left = tmp_path / f"..env.{os.getpid()}"
    left.write_bytes(b"left")
    left.chmod(0o666)
    replace_file(path, b"secret", mode=PRIVATE)
    assert (path.read_bytes(), stat.S_IMODE(path.stat().st_mode)) == (b"secret", 0o600)
    assert list(tmp_path.iterdir()) == [path]


@pytest.mark.skipif(os.geteuid() != 0, reason="only root may replace a file of another user")
def test_file_of_another_user_stays_his_when_root_replaces_it(tmp_path: Path) -> None:
    path = tmp_path / ".env"
    path.write_bytes(b"old")
    os.chown(path, 10_001, 10_002)
    replace_file(path, b"secret", mode=PRIVATE)
    found = path.stat()
    assert (found.st_uid, found.st_gid, stat.S_IMODE(found.st_mode)) == (10_001, 10_002, 0o600)
