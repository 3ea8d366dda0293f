"""How every script starts and how it ends when something is wrong: in one line."""

import contextlib
import os
import sys
import tempfile

os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "3")  # before TensorFlow is imported


@contextlib.contextmanager
def quiet_stderr():
    """Holds back what is written to stderr, and shows it if an exception ends the block."""
    sys.stderr.flush()
    kept = os.dup(2)
    with tempfile.TemporaryFile() as held:
        os.dup2(held.fileno(), 2)
        try:
            yield
        except BaseException:
            held.seek(0)
            os.write(kept, held.read())
            raise
        finally:
            os.dup2(kept, 2)
            os.close(kept)


with quiet_stderr():  # TensorFlow logs before it heeds the level above
    import tensorflow  # noqa: F401

from absl import app, flags, logging  # noqa: E402

EXPECTED = (ValueError, OSError, FloatingPointError)


def run(main, positional=False):
    """Runs `main` under absl with plain errors and exit codes.

    A `ValueError`, `OSError` or `FloatingPointError` ends in `error: <message>` on stderr and exit
    code 1, Ctrl-C in 130. `--verbosity=1` shows the traceback too.

    Args:
        main: Called without arguments, or with the list of positional ones if it takes them.
        positional: Boolean. Whether positional arguments are legal. Where they are not, one is
            most often a line of a flagfile that lacks its dashes.
    """

    def guarded(argv):
        try:
            if argv[1:] and not positional:
                raise ValueError(
                    f"unexpected argument {argv[1]!r}: flags start with `--`, in flagfiles too"
                )
            main(argv[1:]) if positional else main()
        except EXPECTED as error:
            if flags.FLAGS.verbosity > 0:
                logging.exception("traceback")
            print("error:", " ".join(str(error).split()), file=sys.stderr)
            sys.exit(1)
        except KeyboardInterrupt:
            print("interrupted", file=sys.stderr)
            sys.exit(130)

    logging.set_verbosity(logging.ERROR)  # tensorflow-datasets reports every step; a flag undoes it
    app.run(guarded)
