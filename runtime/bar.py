"""How far something is: a bar on a terminal, a line a minute in a log."""

from __future__ import annotations

import logging
import time
from collections.abc import Callable

from tqdm import tqdm

logger = logging.getLogger(__name__)

TELL_EVERY = 60.0  # seconds between the lines of all bars, where there is no terminal


class Bar(tqdm):  # type: ignore[misc]
    """``total`` units, ``done`` of them before; ``shown`` by one process of several."""

    told = time.monotonic()  # when the last line was

    def __init__(self, what: str, total: int, unit: str, done: int = 0, shown: bool = True) -> None:
        hidden = None if shown else True  # None: where there is no terminal
        super().__init__(None, what, total, False, unit=unit, initial=done, disable=hidden)
        self.text, self.done, self.shown = f"{what}: %d of {total}{unit}%s", done, shown

    def advance(self, count: int, remark: Callable[[], str] = str) -> None:
        """So much more is done; the remark is made when it is shown."""
        self.done += count
        if self.update(count):  # it has just been drawn
            self.set_postfix_str(remark())
        if self.disable and self.shown and time.monotonic() >= Bar.told + TELL_EVERY:
            Bar.told = time.monotonic()
            logger.info(self.text, self.done, remark() and f"; {remark()}")
