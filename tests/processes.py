"""Scripts in processes of their own, without importing TensorFlow once more for each.

That takes ten seconds on a slow machine, several times what most of these tests are about.
"""

import atexit
import contextlib
import json
import os
import pathlib
import signal
import socket
import struct
import subprocess
import sys
import tempfile
import threading

SERVER = pathlib.Path(__file__).with_name("forked.py")
_servers = {}
_lock = threading.Lock()


def run(command, cwd=None, env=None, input=None, text=True, timeout=600):
    """As `subprocess.run(command, capture_output=True, ...)`, for a command of this interpreter.

    Args:
        command: Sequence that begins with `sys.executable`, then a script or `-c` and code, and
            arguments.
        cwd: String or path. Defaults to the working directory.
        env: Dictionary. Defaults to this process's environment. What an interpreter reads when it
            starts, such as PYTHONPATH, has no effect: use `subprocess` for that.
        input: Bytes or string for its standard input. Defaults to none.
        text: Boolean. Whether the outputs are strings. Defaults to `True`.
        timeout: Number, in seconds.

    Returns:
        `subprocess.CompletedProcess`.

    Raises:
        subprocess.TimeoutExpired: If it takes longer; it is killed.
    """
    program, *arguments = map(os.fsdecode, command)
    assert program == sys.executable, program
    request = arguments, os.path.abspath(cwd or os.curdir), dict(os.environ if env is None else env)
    with _lock, contextlib.ExitStack() as stack:
        streams = [stack.enter_context(tempfile.TemporaryFile()) for _ in range(3)]
        streams[0].write(input.encode() if isinstance(input, str) else input or b"")
        streams[0].seek(0)
        server = _server()
        _send(server, request, [stream.fileno() for stream in streams])
        (process,) = struct.unpack("!q", _receive(server))
        server.settimeout(timeout)
        try:
            (code,) = struct.unpack("!q", _receive(server))
        except TimeoutError:
            os.kill(process, signal.SIGKILL)
            server.settimeout(None)
            _receive(server)
            raise subprocess.TimeoutExpired(command, timeout) from None
        finally:
            server.settimeout(None)
        for stream in streams:
            stream.seek(0)
        outputs = [stream.read() for stream in streams[1:]]
    outputs = [data.decode(errors="surrogateescape") for data in outputs] if text else outputs
    return subprocess.CompletedProcess(command, code, *outputs)


def _server():
    """The socket of the process that is forked from, one for each process of tests."""
    if os.getpid() not in _servers:
        ours, theirs = socket.socketpair()
        process = subprocess.Popen(
            [sys.executable, str(SERVER), str(theirs.fileno())], pass_fds=[theirs.fileno()],
            stdin=subprocess.DEVNULL,
        )
        theirs.close()
        _servers[os.getpid()] = ours, process
        atexit.register(_end, ours, process)
    return _servers[os.getpid()][0]


def _end(server, process):
    server.close()
    process.wait()


def _send(server, request, descriptors):
    data = json.dumps(request).encode()
    server.sendall(struct.pack("!Q", len(data)))
    socket.send_fds(server, [data[:1]], descriptors)
    server.sendall(data[1:])


def _receive(server):
    data = b""
    while len(data) < 8:
        part = server.recv(8 - len(data))
        if not part:
            raise RuntimeError(f"{SERVER} ended")
        data += part
    return data
