"""Turns at a server: few at once, none while it asks for quiet, and nothing left of them."""

import subprocess
import sys
import threading
import time

import pytest

from samu_batch.errors import FetchError
from samu_batch.turns import CONNECTIONS, Turns

URL = "http://archive.test:8080/a"


def turns(folder, url=URL, stop=None):
    return Turns(url, folder, stop=stop or threading.Event())


def test_few_at_once_and_nothing_is_left(tmp_path):
    lock, inside, most = threading.Lock(), set(), []

    def ask():
        with turns(tmp_path).turn():
            with lock:
                inside.add(threading.get_ident())
                most.append(len(inside))
            time.sleep(0.02)
            with lock:
                inside.remove(threading.get_ident())

    threads = [threading.Thread(target=ask) for _ in range(4 * CONNECTIONS)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert max(most) == CONNECTIONS
    assert len(most) == len(threads)
    assert not list(tmp_path.iterdir())


HOLDS_ALL = """
import sys, threading
from contextlib import ExitStack
from pathlib import Path
from samu_batch.turns import CONNECTIONS, Turns

with ExitStack() as stack:
    for _ in range(CONNECTIONS):
        stack.enter_context(Turns(sys.argv[2], Path(sys.argv[1]), stop=threading.Event()).turn())
    print("all", flush=True)
    sys.stdin.read()
"""


def test_another_process_holds_its_turns_until_it_is_killed(tmp_path):
    command = [sys.executable, "-c", HOLDS_ALL, tmp_path, URL]
    with subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True) as other:
        assert other.stdout.readline() == "all\n"
        stop = threading.Event()
        threading.Timer(0.3, stop.set).start()
        with pytest.raises(FetchError, match="stopped"), turns(tmp_path, stop=stop).turn():
            pass
        with turns(tmp_path, "http://another.test/a").turn():
            pass
        other.kill()
    with turns(tmp_path).turn():
        assert list(tmp_path.iterdir())
    assert not list(tmp_path.iterdir())


def test_a_server_is_left_alone_by_all(tmp_path):
    turns(tmp_path).leave_alone(0.5)
    turns(tmp_path).leave_alone(0.1)  # shortens nothing
    with turns(tmp_path, "http://another.test/a").turn():
        pass
    assert list(tmp_path.iterdir())
    until = next(tmp_path.iterdir()).stat().st_mtime
    with turns(tmp_path).turn():
        assert time.time() >= until
    assert not list(tmp_path.iterdir())
