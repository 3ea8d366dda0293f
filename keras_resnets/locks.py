"""Locks on files and folders that end with the process that holds them, however it ends."""

import contextlib
import os
import socket

try:
    import fcntl
except ImportError:  # Windows
    fcntl = None


class Held(Exception):
    """Another process has the lock; the message says which one."""


def try_lock(descriptor, wait=False):
    """Locks an open file or folder until its descriptor is closed.

    The kernel forgets the lock when the process is gone, killed or not, so that none is ever
    stale; NFS tells it to other machines.

    Args:
        descriptor: Int, of `os.open`.
        wait: Boolean. Whether to wait until no other process has the lock. Defaults to `False`.

    Returns:
        `True` if it is locked now, `False` if another process has it, `None` where the file system
        has no locks.
    """
    if fcntl is None:
        return None
    try:
        fcntl.flock(descriptor, fcntl.LOCK_EX | (0 if wait else fcntl.LOCK_NB))
    except BlockingIOError:
        return False
    except OSError:
        return None
    return True


@contextlib.contextmanager
def lock_file(path):
    """Holds a lock file, which says to people who has it, and removes it at the end.

    Args:
        path: String or path.

    Raises:
        Held: If another process holds it.
        OSError: If the file cannot be made.
    """
    descriptor = _open_locked(path)
    try:
        os.ftruncate(descriptor, 0)
        os.write(descriptor, f"process {os.getpid()} on {socket.gethostname()}\n".encode())
        yield
    finally:
        with contextlib.suppress(FileNotFoundError):
            os.unlink(path)
        os.close(descriptor)


def _open_locked(path):
    while True:
        descriptor = os.open(path, os.O_RDWR | os.O_CREAT, 0o666)
        if try_lock(descriptor) is False:
            with open(descriptor, errors="replace") as file:
                holder = file.readline().strip() or "another process"
            raise Held(holder)
        # Its last holder may have removed the file between opening and locking.
        with contextlib.suppress(FileNotFoundError):
            if os.path.samestat(os.fstat(descriptor), os.stat(path)):
                return descriptor
        os.close(descriptor)
