"""One process at a time: a lock that dies with its process."""

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
def locked(path: Path, *, shared: bool = False, wait: bool = False) -> Iterator[None]:
    """Hold the lock of a file, which is made for it, says who holds it, and is removed at the end.

    A process that dies holds no lock. Where the file system has no locks, nobody is refused, and a
    warning says so.

    Args:
        path: of the file; its folder must exist.
        shared: whether others that share it may hold it too.
        wait: for whoever holds it, and say so, instead of being refused.

    Raises:
        RuntimeError: another process holds it; says which.
    """
    kind = fcntl.LOCK_SH if shared else fcntl.LOCK_EX
    while True:
        file = path.open("a+", encoding="utf-8", errors="backslashreplace")
        os.register_at_fork(after_in_child=file.close)  # workers may outlive a killed holder
        try:
            fcntl.flock(file, kind | fcntl.LOCK_NB)
        except BlockingIOError as error:
            file.seek(0)
            in_use = f"{path.parent} is in use by {file.read().strip() or 'another process'}"
            if not wait:
                file.close()
                raise RuntimeError(f"{in_use}: wait for it to end") from error
            logger.info("%s: waiting for it to end", in_use)
            fcntl.flock(file, kind)
        except OSError as error:
            told = logger.debug if wait else logger.warning
            text = "%s has no locks (%s): see to it that nothing else writes there meanwhile"
            told(text, path.parent, error.strerror)
        if path.exists() and os.path.samestat(os.fstat(file.fileno()), path.stat()):
            break
        file.close()  # the holder before removed it
    with file:
        try:
            file.truncate(0)
            file.write(f"process {os.getpid()} on {platform.node()} ({' '.join(sys.argv)[:500]})\n")
            file.flush()
            yield
        finally:
            with suppress(OSError):  # others that share it still need it
                fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
                path.unlink(missing_ok=True)
