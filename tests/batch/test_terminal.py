"""A run on a real terminal (a pty): what it shows of its workers, and how it leaves the screen."""

import fcntl
import os
import pty
import re
import subprocess
import sys
import termios
import time

import mrcfile
import numpy as np
import pytest

HIDE_CURSOR, SHOW_CURSOR = b"\x1b[?25l", b"\x1b[?25h"
MAPS = 48
"""Enough that a fast machine is seen at work: workers tell what they do twice a second."""
WORKERS = {1: set(), 2: {"cpu-0", "cpu-1"}}
"""What the display calls them; the only one there is needs no name."""


@pytest.fixture
def maps(tmp_path):
    (tmp_path / "maps").mkdir()
    first = tmp_path / "maps" / "m0.mrc"
    with mrcfile.new(first) as mrc:
        mrc.set_data(np.random.default_rng(0).random((110, 110, 110), dtype=np.float32))
        mrc.voxel_size = 1.2
    for number in range(1, MAPS):
        (tmp_path / "maps" / f"m{number}.mrc").hardlink_to(first)
    return sorted((tmp_path / "maps").iterdir())


class OnTerminal:
    """A command whose stdin, stdout and stderr are a terminal of 100 columns."""

    def __init__(self, *words):
        self.seen = b""
        self._master, slave = pty.openpty()
        environment = os.environ | {"TERM": "xterm-256color", "COLUMNS": "100", "LINES": "30"}
        streams = {"stdin": slave, "stdout": slave, "stderr": slave}
        command = [sys.executable, "-m", "samu_batch", *map(str, words)]
        # The terminal has to be that of the process's session, or Ctrl-C reaches nobody.
        take = {"start_new_session": True, "preexec_fn": lambda: fcntl.ioctl(0, termios.TIOCSCTTY, 0)}
        self.process = subprocess.Popen(command, env=environment, **streams, **take)
        os.close(slave)

    def read_until(self, what):
        deadline = time.monotonic() + 60
        while what not in self.seen:
            assert time.monotonic() < deadline, self.seen
            if not self._read():
                raise AssertionError(f"{what!r} never came: {self.seen!r}")

    def ended(self):
        while self._read():
            pass
        return self.process.wait(timeout=60)

    def press(self, key):
        os.write(self._master, key)

    def _read(self):
        try:
            part = os.read(self._master, 65536)
        except OSError:  # the other end is closed
            return False
        self.seen += part
        return bool(part)


@pytest.fixture
def command(maps, tmp_path):
    return ["enhance", *maps, "-o", tmp_path / "run", "--engine", "identity", "--workers"]


@pytest.mark.parametrize("workers", [1, 2])
def test_a_terminal_shows_the_bar_and_what_each_worker_does(command, workers):
    on_terminal = OnTerminal(*command, workers)
    assert on_terminal.ended() == 0, on_terminal.seen
    shown = on_terminal.seen.decode()
    assert f"{MAPS}/{MAPS} maps" in shown
    assert shown.rstrip().splitlines()[-2].endswith(f"{MAPS} of {MAPS} maps done, 0 failed")
    assert re.search(r"(ingest|enhance|export) m\d", shown)
    assert {name for name in ("cpu-0", "cpu-1", "cpu-2") if name in shown} == WORKERS[workers]
    assert on_terminal.seen.rfind(SHOW_CURSOR) > on_terminal.seen.rfind(HIDE_CURSOR) > 0


@pytest.mark.parametrize("workers", [1, 2])
def test_ctrl_c_gives_the_cursor_back_and_says_how_to_go_on(command, workers):
    on_terminal = OnTerminal(*command, workers)
    on_terminal.read_until(b" done in ")
    on_terminal.press(b"\x03")
    assert on_terminal.ended() == 130, on_terminal.seen
    assert on_terminal.seen.rfind(SHOW_CURSOR) > on_terminal.seen.rfind(HIDE_CURSOR) > 0
    shown = on_terminal.seen.decode()
    assert "Traceback" not in shown
    assert "the same command goes on from here" in shown.split(SHOW_CURSOR.decode())[-1]
