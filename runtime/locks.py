"""One process at a time: a lock that leaves nothing behind."""

from __future__ import annotations

import fcntl
import logging
import os
import platform
import sys
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

logger = logging.getLogger(__name__)


@contextmanager
def locked(folder: Path) -> Iterator[None]:
    """Wait until no other process of this machine is in such a block for ``folder``, then enter.

    Leaves no file behind, and a process that dies holds no lock. Where the file system has no
    locks, nobody waits.

    Raises:
        OSError: the folder cannot be opened.
    """
    descriptor = os.open(folder, os.O_RDONLY)
    try:
        try:
            fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            logger.info("waiting for another process to finish its work in %s", folder)
            fcntl.flock(descriptor, fcntl.LOCK_EX)
        except OSError as error:
            logger.debug("%s: cannot be locked: %s", folder, error)
        yield
    finally:
        os.close(descriptor)


@contextmanager
def only_one(path: Path, *, shared: bool = False) -> Iterator[None]:
    """Hold the lock of a file, made for it and removed at the end; do not wait for it.

    A process that dies holds no lock. Where the file system has no locks, nobody is refused.

    Args:
        path: of the file; its folder must exist.
        shared: whether others that share it may hold it too.

    Raises:
        RuntimeError: another process holds it; says which.
        OSError: the file cannot be written.
    """
    kind = fcntl.LOCK_SH if shared else fcntl.LOCK_EX
    while True:
        file = path.open("a+")
        try:
            fcntl.flock(file, kind | fcntl.LOCK_NB)
        except BlockingIOError as error:
            with file:
                file.seek(0)
                holder = file.read().strip() or "another process"
            raise RuntimeError(
                f"{path.parent} is in use by {holder}: wait for it to end"
            ) from error
        except OSError as error:
            logger.debug("%s: cannot be locked: %s", path, error)
        if path.exists() and os.path.samestat(os.fstat(file.fileno()), path.stat()):
            break
        file.close()  # the holder before removed it
    with file:
        file.truncate(0)
        file.write(f"process {os.getpid()} on {platform.node()} ({' '.join(sys.argv)[:500]})\n")
        file.flush()
        try:
            yield
        finally:
            with suppress(OSError):  # others that share it still need it
                fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
                path.unlink(missing_ok=True)
