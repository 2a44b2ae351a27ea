"""Mark of a folder in use: seen by other processes, gone with its process, harmless after a crash."""

import os
import signal
import subprocess
import sys
from pathlib import Path

from segue.system.folder_use import is_in_use, mark_in_use

USER = """
import sys, time
from pathlib import Path
from segue.system.folder_use import mark_in_use
with mark_in_use(Path(sys.argv[1])):
    print("marked", flush=True)
    time.sleep(60)
"""


def test_marks_count_until_the_last_one_ends(tmp_path: Path) -> None:
    folder = tmp_path / "run"
    assert not is_in_use(folder)
    with mark_in_use(folder):
        assert is_in_use(folder)
        with mark_in_use(folder):
            assert is_in_use(folder)
        assert is_in_use(folder)
    assert not is_in_use(folder)
    assert list(tmp_path.iterdir()) == []


def test_a_replaced_folder_is_still_in_use(tmp_path: Path) -> None:
    folder = tmp_path / "run"
    folder.mkdir()
    with mark_in_use(folder):
        folder.rename(tmp_path / "old")
        folder.mkdir()
        assert is_in_use(folder) and not is_in_use(tmp_path / "old")


def test_a_killed_process_leaves_no_mark(tmp_path: Path) -> None:
    folder = tmp_path / "run"
    with subprocess.Popen([sys.executable, "-c", USER, str(folder)], stdout=subprocess.PIPE, text=True) as user:
        assert user.stdout is not None and user.stdout.readline() == "marked\n"
        assert is_in_use(folder)
        user.send_signal(signal.SIGKILL)
        user.wait()
    assert not is_in_use(folder)
    with mark_in_use(folder):
        assert is_in_use(folder)
    assert list(tmp_path.iterdir()) == []


def test_a_folder_beside_which_nothing_can_be_written(tmp_path: Path) -> None:
    with mark_in_use(tmp_path / "missing" / "run"):
        assert not is_in_use(tmp_path / "missing" / "run")
    assert os.listdir(tmp_path) == []
