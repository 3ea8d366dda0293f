"""SIGTERM and SIGINT during a training: the step under way ends and is saved."""

import signal
import threading


class Interrupted(Exception):
    """A training was asked to stop and its state was saved.

    Args:
        number: Int, the signal's.
        where: String, the place that was saved.
    """

    def __init__(self, number, where):
        super().__init__(f"{signal.Signals(number).name}: saved {where}; the same command goes on")
        self.number = number

    def as_exit(self):
        """What ends the process as the signal itself would: exit code 130 or 143."""
        return _exit(self.number)


class Signals:
    """Holds SIGTERM and SIGINT back within a `with` block, the first time that one comes.

    Without this SIGTERM would end the process amid a step, or as process 1 of a container be
    ignored. A second signal ends it at once. Signals that the process ignores stay ignored, and in
    a thread other than the main one, which receives none, nothing is held back.

    Attributes:
        received: Int, the number of the signal that came, or `None`.
        agreed: As `received`, once all workers of a training know it: they stop together.
    """

    def __init__(self):
        self.received = self.agreed = None
        self._before = {}

    def __enter__(self):
        if threading.current_thread() is threading.main_thread():
            for number in (signal.SIGTERM, signal.SIGINT):
                if signal.getsignal(number) not in (signal.SIG_IGN, None):
                    self._before[number] = signal.signal(number, self._receive)
        return self

    def __exit__(self, *_):
        for number, handler in self._before.items():
            signal.signal(number, handler)

    def _receive(self, number, frame):
        if self.received is not None:
            raise _exit(number)
        self.received = number


def _exit(number):
    return KeyboardInterrupt() if number == signal.SIGINT else SystemExit(128 + number)
