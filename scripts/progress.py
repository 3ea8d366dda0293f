"""A progress bar for people who wait."""

import threading
import time

PATIENCE = 3.0  # seconds without a bar
REFRESH = 0.2
WIDTH = 24


class Progress:
    """A bar in a terminal that appears after a few seconds, and goes at the end.

    It is drawn by the clock, so that a first answer that takes long is waited for with a bar.

    Args:
        total: Int. How many there are to do.
        stream: Where to, or `None`. Nothing is written to what is no terminal.
        what: String, what is counted.
    """

    def __init__(self, total, stream, what="images"):
        self._total, self._stream, self._what = total, stream, what
        self._done, self._start = 0, time.monotonic()
        self._is_shown, self._is_over = False, threading.Event()
        is_seen = stream is not None and stream.isatty()
        self._clock = threading.Thread(target=self._draw_by_the_clock) if is_seen else None

    def __enter__(self):
        if self._clock:
            self._clock.start()
        return self

    def __exit__(self, *_):
        if self._clock:
            self._is_over.set()
            self._clock.join()
        if self._is_shown:
            self._stream.write("\r\x1b[K")
            self._stream.flush()

    def show(self, done):
        """Tells that `done` of them are done."""
        self._done = done

    def _draw_by_the_clock(self):
        wait = PATIENCE
        while not self._is_over.wait(wait):
            self._draw()
            wait = REFRESH

    def _draw(self):
        done = self._done
        bar = "=" * (WIDTH * done // self._total)
        speed = ""
        if done:
            rate = done / (time.monotonic() - self._start)
            left = round((self._total - done) / rate)
            speed = f", {rate:.0f} a second, {left // 60}:{left % 60:02} left"
        self._stream.write(f"\r\x1b[K[{bar:<{WIDTH}}] {done}/{self._total} {self._what}{speed}")
        self._stream.flush()
        self._is_shown = True
