"""How every script starts and how it ends when something is wrong: in one line."""

import os
import sys

os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "3")  # before TensorFlow is imported

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
        if argv[1:] and not positional:
            raise app.UsageError(
                f"unexpected argument {argv[1]!r}: flags start with `--`, in flagfiles too"
            )
        try:
            main(argv[1:]) if positional else main()
        except EXPECTED as error:
            if flags.FLAGS.verbosity > 0:
                logging.exception("traceback")
            print("error:", " ".join(str(error).split()), file=sys.stderr)
            sys.exit(1)
        except KeyboardInterrupt:
            print("interrupted", file=sys.stderr)
            sys.exit(130)

    app.run(guarded)
