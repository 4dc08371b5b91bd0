"""Whole files or none."""

import errno
import itertools
import os
import resource
import signal
import subprocess
import sys
import threading
from concurrent.futures import ThreadPoolExecutor

import pytest

from samu_batch.errors import NotFoundError, StoreError, UnreadableError
from samu_batch.files import reading, remove_partials, sha256_of, write_new, write_whole, writing_aside


def test_a_file_is_written_whole_and_replaced(tmp_path):
    path = tmp_path / "new" / "a.json"
    write_whole(path, "first")
    write_whole(path, b"second")
    assert path.read_bytes() == b"second"
    assert list(path.parent.iterdir()) == [path]


def test_of_many_who_create_a_file_one_does(tmp_path):
    path = tmp_path / "new" / "a.json"
    texts = [str(number) * 100_000 for number in range(8)]
    with ThreadPoolExecutor(len(texts)) as threads:
        created = list(threads.map(lambda text: write_new(path, text), texts))
    assert created.count(True) == 1
    assert path.read_text() == texts[created.index(True)]
    assert list(path.parent.iterdir()) == [path]


def test_a_file_that_cannot_be_created_is_a_store_error(tmp_path):
    (tmp_path / "file").touch()
    with pytest.raises(StoreError):
        write_new(tmp_path / "file" / "a.json", "text")


def test_an_error_leaves_the_old_file_and_nothing_else(tmp_path):
    path = tmp_path / "a"
    write_whole(path, "old")

    def fail():
        with writing_aside(path) as partial:
            partial.write_text("half")
            raise ZeroDivisionError

    with pytest.raises(ZeroDivisionError):
        fail()
    assert path.read_text() == "old"
    assert list(tmp_path.iterdir()) == [path]


def test_a_killed_writer_leaves_the_old_file(tmp_path):
    path = tmp_path / "a"
    write_whole(path, "old")
    script = (
        "import os, sys, signal; from pathlib import Path; from samu_batch.files import writing_aside\n"
        "with writing_aside(Path(sys.argv[1])) as partial:\n"
        "    partial.write_text('half'); os.kill(os.getpid(), signal.SIGKILL)\n"
    )
    killed = subprocess.run([sys.executable, "-c", script, path], check=False)
    assert killed.returncode == -signal.SIGKILL
    assert path.read_text() == "old"
    assert len(list(tmp_path.iterdir())) == 2
    remove_partials(path.with_name("another"))
    assert len(list(tmp_path.iterdir())) == 2
    remove_partials(path)
    assert list(tmp_path.iterdir()) == [path]


def test_a_full_disk_is_a_store_error_with_its_number(tmp_path):
    # A limit on the size of files is refused by the same path as a full disk.
    script = (
        "import resource, signal, sys; from pathlib import Path; from samu_batch.files import write_whole\n"
        "from samu_batch.errors import StoreError\n"
        "signal.signal(signal.SIGXFSZ, signal.SIG_IGN); resource.setrlimit(resource.RLIMIT_FSIZE, (4096, 4096))\n"
        "try: write_whole(Path(sys.argv[1]), bytes(100000))\n"
        "except StoreError as error: print(error.errno, error)\n"
    )
    said = subprocess.run([sys.executable, "-c", script, tmp_path / "a"], capture_output=True, text=True, check=True)
    assert said.stdout.startswith(f"{errno.EFBIG} {tmp_path / 'a'} cannot be written: ")
    assert list(tmp_path.iterdir()) == []
    assert resource.getrlimit(resource.RLIMIT_FSIZE) != (4096, 4096)


def test_a_folder_in_the_way_is_a_store_error(tmp_path):
    (tmp_path / "a").mkdir()
    with pytest.raises(StoreError, match="cannot be written") as caught:
        write_whole(tmp_path / "a", "text")
    assert caught.value.errno == errno.EISDIR
    (tmp_path / "file").write_text("")
    with pytest.raises(StoreError, match="File exists"):
        write_whole(tmp_path / "file" / "a", "text")


def test_a_written_file_has_the_permissions_of_any_other(tmp_path):
    before = os.umask(0o027)
    try:
        write_whole(tmp_path / "a", "text")
    finally:
        os.umask(before)
    assert (tmp_path / "a").stat().st_mode & 0o777 == 0o640


def test_reading_says_why_not(tmp_path):
    (tmp_path / "a").write_bytes(b"abc")
    with reading(tmp_path / "a") as file:
        assert file.read() == b"abc"
    assert sha256_of(tmp_path / "a") == "ba7816bf8f01cfea414140de5dae2223b00361a396177a9cb410ff61f20015ad"
    with pytest.raises(NotFoundError):
        sha256_of(tmp_path / "b")
    with pytest.raises(UnreadableError):
        sha256_of(tmp_path)


def test_a_reader_sees_the_old_file_or_the_new_one_at_every_moment(tmp_path):
    path = tmp_path / "a"
    contents = [bytes([letter]) * (1 << 22) for letter in b"xy"]
    write_whole(path, contents[0])
    stop = threading.Event()

    def write():
        for content in itertools.cycle(contents):
            if stop.is_set():
                return
            write_whole(path, content)

    writer = threading.Thread(target=write)
    writer.start()
    try:
        for _ in range(100):
            assert path.read_bytes() in contents
    finally:
        stop.set()
        writer.join()
