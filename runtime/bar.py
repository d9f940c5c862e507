"""How far something is: a bar on a terminal, a line a minute in a log."""

from __future__ import annotations

import logging
import time
from collections.abc import Callable

from tqdm import tqdm

logger = logging.getLogger(__name__)

TELL_EVERY = 60.0  # seconds between the lines of all bars, where there is no terminal


class Bar(tqdm):  # type: ignore[misc]
    """A bar that is gone when it is done; to be entered.

    Args:
        what: that takes so long.
        total: how much there is of it, in ``unit``.
        initial: how much of it is done.
        shown: whether anything is shown, as in one process of several.
    """

    told = time.monotonic()  # when the last line was

    def __init__(
        self, what: str, total: int, unit: str, *, initial: int = 0, shown: bool = True
    ) -> None:
        hidden = None if shown else True  # None: where there is no terminal
        super().__init__(
            desc=what, total=total, unit=f" {unit}", initial=initial, leave=False, disable=hidden
        )
        self.text, self.done, self.shown = f"{what}: %d of {total} {unit}%s", initial, shown

    def advance(self, count: int, remark: Callable[[], str] = str) -> None:
        """So much more is done; the remark is made when it is shown."""
        self.done += count
        if self.update(count):  # it has just been drawn
            self.set_postfix_str(remark())
        if self.disable and self.shown and time.monotonic() >= Bar.told + TELL_EVERY:
            Bar.told, text = time.monotonic(), remark()
            logger.info(self.text, self.done, f"; {text}" if text else "")
