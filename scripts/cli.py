"""How every script starts and how it ends when something is wrong: in one line."""

import contextlib
import os
import pathlib
import select
import signal
import sys
import tempfile

os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "3")  # before TensorFlow is imported

HERE = pathlib.Path(__file__).resolve().parent
IN_MEMORY = "/dev/shm"
STOPPED = {signal.SIGINT: "interrupted", signal.SIGTERM: "terminated"}
COUNT = {"lower_bound": 1, "upper_bound": 2**31 - 1}  # of integer flags that count something
_stderr = 2  # the descriptor that the user sees


def _stop_at_once(number, *_):
    """Ends an import at a signal: extension modules make other errors of a KeyboardInterrupt."""
    os.write(_stderr, f"{STOPPED[number]}\n".encode())
    os._exit(128 + number)


def _terminate(number, *_):
    raise SystemExit(128 + number)


# Not where a test or a notebook imports this file.
if pathlib.Path(getattr(sys.modules["__main__"], "__file__", "")).resolve().parent == HERE:
    if sys.getfilesystemencoding() == "ascii":  # TensorFlow takes names of files as UTF-8 alone
        os.execv(sys.executable, [sys.executable, "-X", "utf8", *sys.orig_argv[1:]])
    for number in STOPPED:
        signal.signal(number, _stop_at_once)


for descriptor, name in enumerate(("stdin", "stdout", "stderr")):
    if getattr(sys, name) is None:  # closed by what started this: a file would take its number
        os.dup2(os.open(os.devnull, os.O_RDWR), descriptor)
        setattr(sys, name, os.fdopen(descriptor, "w" if descriptor else "r"))


try:
    tempfile.gettempdir()
except FileNotFoundError:  # a read-only container; to import Keras takes a writable folder
    if not os.access(IN_MEMORY, os.W_OK):
        sys.exit("error: no temporary folder is writable: set TMPDIR to one that is")
    tempfile.tempdir = IN_MEMORY


@contextlib.contextmanager
def quiet_stderr():
    """Holds back what is written to stderr, and shows it if an exception ends the block."""
    global _stderr
    sys.stderr.flush()
    _stderr = os.dup(2)
    with tempfile.TemporaryFile() as held:
        os.dup2(held.fileno(), 2)
        try:
            yield
        except BaseException:
            held.seek(0)
            os.write(_stderr, held.read())
            raise
        finally:
            os.dup2(_stderr, 2)
            os.close(_stderr)
            _stderr = 2


with quiet_stderr():  # TensorFlow logs before it heeds the level above
    from keras_resnets.errors import UserError

from absl import app, flags, logging  # noqa: E402


def run(main, positional=False):
    """Runs `main` under absl with plain errors and exit codes.

    A `UserError`, `OSError` or `FloatingPointError` ends in `error: <message>` on stderr and exit
    code 1, as do flags that absl refuses; Ctrl-C in 130, SIGTERM in 143, and a closed pipe
    (`| head`) in 141. Any other exception is a defect and keeps its traceback. `--verbosity=1`
    shows them all.

    Args:
        main: Called without arguments, or with the list of positional ones if it takes them.
        positional: Boolean. Whether positional arguments are legal.
    """

    def guarded(argv):
        signal.signal(signal.SIGINT, signal.default_int_handler)
        signal.signal(signal.SIGTERM, _terminate)  # process 1 of a container would ignore it
        try:
            if argv[1:] and not positional:
                raise UserError(f"unexpected argument {argv[1]!r}: flags start with `--`")
            main(argv[1:]) if positional else main()
            sys.stdout.flush()
        except KeyboardInterrupt:
            _stop(signal.SIGINT)
        except SystemExit as stop:
            if stop.code == 128 + signal.SIGTERM:
                _stop(signal.SIGTERM)
            raise
        except Exception as error:
            if isinstance(error, BrokenPipeError) and _nobody_reads_stdout():
                os.dup2(os.open(os.devnull, os.O_WRONLY), 1)  # for what Python flushes at its end
                sys.exit(128 + signal.SIGPIPE)
            if not isinstance(error, UserError | OSError | FloatingPointError):
                raise
            if flags.FLAGS.verbosity > 0:
                logging.exception("traceback")
            _fail(error)

    for stream in (sys.stdout, sys.stderr):  # a class name must not end a run in an ASCII locale
        stream.reconfigure(errors="backslashreplace")
    logging.set_verbosity(logging.ERROR)  # tensorflow-datasets reports every step; a flag undoes it
    app.run(guarded, flags_parser=_parse)


def _stop(number):
    """Ends the process as a signal does."""
    with contextlib.suppress(OSError):  # `| head` may be gone
        sys.stdout.flush()
    print(STOPPED[number], file=sys.stderr, flush=True)
    # Not sys.exit: threads that still read images may crash while Python takes itself down.
    os._exit(128 + number)


def _nobody_reads_stdout():
    """Whether stdout is a pipe with nobody at its other end, as after `| head`."""
    poll = select.poll()
    poll.register(1, 0)
    return any(event & select.POLLERR for _, event in poll.poll(0))


def _fail(error):
    print("error:", " ".join(str(error).split()), file=sys.stderr)
    sys.exit(1)


def _parse(argv):
    """Parses the flags; absl's own way of telling errors takes up to four lines."""
    try:
        return flags.FLAGS([argv[0], *expand_flagfiles(argv[1:])])
    except (flags.Error, UserError, OSError) as error:
        _fail(error)


def expand_flagfiles(arguments, within=()):
    """Puts the lines of each `--flagfile` in its place, as absl does, which says less of mistakes.

    Args:
        arguments: List of strings.
        within: Tuple of strings, the flagfiles that these arguments are lines of.

    Returns:
        List of strings without any `--flagfile`.

    Raises:
        UserError: If a flagfile includes itself, is not UTF-8 text, or has a line that is not a
            flag.
        OSError: If a flagfile cannot be read.
    """
    expanded, rest = [], iter(arguments)
    for argument in rest:
        if argument == "--":  # positional arguments follow
            return [*expanded, argument, *rest]
        key, equals, path = argument.partition("=")
        if key not in ("--flagfile", "-flagfile"):
            expanded.append(argument)
            continue
        path = path if equals else next(rest, "")
        if not path:
            raise UserError("--flagfile must name a file: --flagfile=my.flags")
        if path in within:
            raise UserError(f"flagfile {path} includes itself, by way of {within[-1]}")
        expanded += expand_flagfiles(_flagfile_lines(path), (*within, path))
    return expanded


def _flagfile_lines(path):
    try:
        text = pathlib.Path(path).expanduser().read_bytes().decode("utf-8-sig")
    except UnicodeDecodeError as error:
        raise UserError(f"flagfile {path} is not UTF-8 text, see its byte {error.start}") from None
    lines = []
    for number, line in enumerate(text.splitlines(), 1):
        line = line.strip()
        if not line or line.startswith(("#", "//")):
            continue
        if not line.startswith("-") or " " in line.partition("=")[0]:
            raise UserError(
                f"flagfile {path}, line {number}: a line must be --flag=value or begin with `#`. "
                f"Received: {line!r}"
            )
        lines.append(line)
    return lines
