"""One process at a time: a lock that leaves nothing behind."""

from __future__ import annotations

import fcntl
import logging
import os
from collections.abc import Iterator
from contextlib import contextmanager
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
