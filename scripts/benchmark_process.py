"""Processes that scripts/benchmark.py asks in turn."""

import contextlib
import json
import os
import subprocess


class Worker:
    """A process that answers each JSON object on its standard input with another.

    Args:
        command: Sequence of strings.
        **environment: Variables to set for it.
    """

    def __init__(self, command, **environment):
        self._process = subprocess.Popen(
            command,
            env={**os.environ, **environment},
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=subprocess.DEVNULL,
            text=True,
        )

    def ask(self, **request):
        """The answer to a request, a dictionary."""
        with contextlib.suppress(BrokenPipeError):
            print(json.dumps(request), file=self._process.stdin, flush=True)
        answer = self._process.stdout.readline()
        return json.loads(answer) if answer else {"error": "its process ended"}

    def end(self):
        """Ends the process."""
        self._process.kill()
        self._process.wait()
