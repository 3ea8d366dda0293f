"""A progress bar for people who wait."""

import time

PATIENCE = 3.0  # seconds without a bar
REFRESH = 0.2
WIDTH = 24


class Progress:
    """A bar in a terminal that appears after a few seconds, and goes at the end.

    Args:
        total: Int. How many there are to do.
        stream: Where to, or `None`. Nothing is written to what is no terminal.
        what: String, what is counted.
    """

    def __init__(self, total, stream, what="images"):
        self._total, self._stream, self._what = total, stream, what
        self._start = time.monotonic()
        self._next = self._start + PATIENCE if stream and stream.isatty() else float("inf")
        self._is_shown = False

    def __enter__(self):
        return self

    def __exit__(self, *_):
        if self._is_shown:
            self._stream.write("\r\x1b[K")
            self._stream.flush()

    def show(self, done):
        """Shows that `done` of them are done."""
        now = time.monotonic()
        if now < self._next or not done:
            return
        rate = done / (now - self._start)
        left = round((self._total - done) / rate)
        bar = "=" * (WIDTH * done // self._total)
        self._stream.write(
            f"\r\x1b[K[{bar:<{WIDTH}}] {done}/{self._total} {self._what}, {rate:.0f} a second, "
            f"{left // 60}:{left % 60:02} left"
        )
        self._stream.flush()
        self._next, self._is_shown = now + REFRESH, True
