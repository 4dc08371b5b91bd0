"""Reading inputs and writing whole files: aside first, then `fsync`, then renamed.

A process killed at any moment leaves the old file or the new one, never a part under the real name.
"""

from __future__ import annotations

import errno
import fcntl
import glob
import hashlib
import os
import secrets
import shutil
import stat
from contextlib import contextmanager, suppress
from typing import TYPE_CHECKING

from samu_batch.errors import NotFoundError, SamuError, StoreError, UnreadableError

if TYPE_CHECKING:
    from collections.abc import Iterator
    from io import BufferedRandom, BufferedReader
    from pathlib import Path

PARTIAL = ".partial"
NO_LOCKS = (errno.ENOLCK, errno.ENOSYS, errno.EOPNOTSUPP)
"""What a file system says that has no locks."""


@contextmanager
def reading(path: Path) -> Iterator[BufferedReader]:
    """Open a regular file for reading bytes.

    Raises
    ------
    NotFoundError, UnreadableError
        The file does not exist; it is no regular file, is not allowed to be read, or its disk fails.
    """
    try:
        if not stat.S_ISREG(path.stat().st_mode):
            raise UnreadableError(f"{path} is not a regular file")
        with path.open("rb") as file:
            yield file
    except SamuError:
        raise
    except FileNotFoundError as error:
        raise NotFoundError(f"{path} does not exist") from error
    except OSError as error:
        raise UnreadableError(f"{path} cannot be read: {error.strerror or error}") from error


def sha256_of(path: Path) -> str:
    """Return the SHA-256 of a file as 64 hexadecimal digits (raises as :func:`reading`)."""
    with reading(path) as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


@contextmanager
def writing_aside(path: Path) -> Iterator[Path]:
    """Give a new name beside ``path`` to write to; on leaving, make it durable and rename it to ``path``.

    If the body raises, what it wrote is removed and ``path`` stays as it was. The folder is made if need be.

    Raises
    ------
    StoreError
        The operating system refused: a full disk, no permission. ``errno`` is its number.
    """
    partial = path.with_name(f".{path.name}.{os.getpid()}-{secrets.token_hex(4)}{PARTIAL}")
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        yield partial
        sync(partial)
        partial.replace(path)
        sync(path.parent)
    except SamuError:
        raise
    except OSError as error:
        raise store_error(path, error) from error
    finally:
        with suppress(OSError):  # gone after the rename, or never made
            partial.unlink()


def write_whole(path: Path, content: bytes | str) -> None:
    """Replace ``path`` by ``content`` (text as UTF-8), whole or not at all (raises as :func:`writing_aside`)."""
    if isinstance(content, str):
        # Names of files that are no UTF-8 go out as the bytes they came in as.
        content = content.encode(errors="surrogateescape")
    with writing_aside(path) as partial:
        partial.write_bytes(content)


def write_new(path: Path, content: str) -> bool:
    """Create ``path`` with ``content``, whole; return False where it exists: of many processes, one writes.

    Raises
    ------
    StoreError
        The operating system refused.
    """
    partial = path.with_name(f".{path.name}.{os.getpid()}-{secrets.token_hex(4)}{PARTIAL}")
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        partial.write_text(content, errors="surrogateescape")
        sync(partial)
        with suppress(FileExistsError):
            os.link(partial, path)
            sync(path.parent)
            return True
    except OSError as error:
        raise store_error(path, error) from error
    finally:
        with suppress(OSError):
            partial.unlink()
    return False


def owned(path: Path, *, wait: bool) -> BufferedRandom | None:
    """Open a file under a lock that one thread of one process has at a time, until it closes the file.

    The file and its folder are made if need be, and may be removed by their owner. None where another owns it and
    ``wait`` is false. Raises OSError, with one of ``NO_LOCKS`` where the file system has none.
    """
    while True:
        try:
            path.parent.mkdir(parents=True, exist_ok=True)
            file = path.open("a+b")
        except FileNotFoundError:  # another removed a folder on the way, empty until now
            continue
        except FileExistsError:
            if os.path.lexists(path.parent):  # no folder
                raise
            continue
        try:
            fcntl.flock(file, fcntl.LOCK_EX if wait else fcntl.LOCK_EX | fcntl.LOCK_NB)
            # The owner before may have removed the file that was just opened.
            if path.stat().st_ino == os.fstat(file.fileno()).st_ino:
                return file
        except FileNotFoundError:
            pass
        except BlockingIOError:
            file.close()
            return None
        except BaseException:
            file.close()
            raise
        file.close()


def remove_partials(path: Path) -> None:
    """Remove what killed writers of ``path`` left beside it; only its one present owner may ask for it."""
    for partial in path.parent.glob(f".{glob.escape(path.name)}*{PARTIAL}"):
        remove(partial)


def remove(path: Path) -> None:
    """Remove a file or a folder, if it is there."""
    if path.is_dir() and not path.is_symlink():
        shutil.rmtree(path)
    else:
        path.unlink(missing_ok=True)


def sync(path: Path) -> None:
    """Ask the disk to keep a file, or a folder's names, through a loss of power."""
    # Some network file systems flush only through a descriptor that may write; a folder cannot be opened so.
    descriptor = os.open(path, os.O_RDONLY if path.is_dir() else os.O_RDWR)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)


def store_error(path: Path, error: OSError) -> StoreError:
    """Return the :class:`StoreError` that says why ``path`` was not written, with the same ``errno``."""
    refused = StoreError(f"{path} cannot be written: {error.strerror or error}")
    refused.errno = error.errno
    return refused
