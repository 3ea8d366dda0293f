"""The process that `processes.run` forks from: it has imported what every script imports.

It reads requests from the socket whose descriptor is its argument. Each comes with the three
standard streams and becomes a process of its own, whose interpreter goes on as if it had been
started with the request's arguments, and ends as any other.
"""

import gc
import json
import os
import runpy
import signal
import socket
import struct
import sys


def requests(server):
    """Yields (arguments, folder, environment) in a process of its own for each request."""
    signal.signal(signal.SIGCHLD, signal.SIG_IGN)
    while header := server.recv(8):
        (length,) = struct.unpack("!Q", header)
        data, streams, _, _ = socket.recv_fds(server, 1, 3)
        while len(data) < length:
            data += server.recv(length - len(data))
        if os.fork() == 0:  # waits for the process, and tells how it ended
            signal.signal(signal.SIGCHLD, signal.SIG_DFL)
            process = os.fork()
            if process == 0:
                server.close()
                for number, stream in enumerate(streams):
                    os.dup2(stream, number)
                    os.close(stream)
                yield json.loads(data)
                return
            server.sendall(struct.pack("!q", process))
            _, status = os.waitpid(process, 0)
            server.sendall(struct.pack("!q", os.waitstatus_to_exitcode(status)))
            os._exit(0)
        for stream in streams:
            os.close(stream)


def become(arguments, folder, environment):
    """Goes on as the interpreter would with these arguments: `-c CODE ...` or `SCRIPT ...`."""
    os.chdir(folder)
    os.environ.clear()
    os.environ.update(environment)
    if arguments[0] == "-c":
        sys.path.insert(0, "")
        sys.argv = ["-c", *arguments[2:]]
        main = {"__name__": "__main__", "__builtins__": __builtins__}
        exec(compile(arguments[1], "<string>", "exec"), main)
    else:
        sys.path.insert(0, os.path.dirname(os.path.abspath(arguments[0])))
        sys.argv = list(arguments)
        runpy.run_path(arguments[0], run_name="__main__")


if __name__ == "__main__":
    import absl.app  # noqa: F401
    import keras  # noqa: F401
    import sklearn.datasets  # noqa: F401

    import keras_resnets.analysis
    import keras_resnets.data
    import keras_resnets.serving
    import keras_resnets.training
    import keras_resnets.weights  # noqa: F401

    sys.path.pop(0)
    gc.freeze()  # what is never looked at is never copied
    for request in requests(socket.socket(fileno=int(sys.argv[1]))):
        become(*request)
