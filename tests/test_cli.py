"""How scripts start and end, in real processes."""

import os
import re
import signal
import subprocess
import sys
from pathlib import Path

import keras
import numpy as np
import processes
import pytest

from keras_resnets.errors import UserError

SCRIPTS = Path(__file__).parents[1] / "scripts"
TRAIN, MODELS = SCRIPTS / "train.py", SCRIPTS / "models.py"
RECIPE = SCRIPTS.parent / "keras_resnets" / "training" / "recipe.py"
ASCII = {"LC_ALL": "C", "PYTHONUTF8": "0", "PYTHONCOERCECLOCALE": "0"}


@pytest.fixture
def start(tmp_path):
    """Starts a script in `tmp_path`; `customize` is code that its interpreter runs first."""

    def started(script, *arguments, customize="", **environment):
        (tmp_path / "site").mkdir(exist_ok=True)
        (tmp_path / "site" / "sitecustomize.py").write_text(customize)
        paths = [str(tmp_path / "site"), str(SCRIPTS.parent), os.environ.get("PYTHONPATH", "")]
        return subprocess.Popen(
            [sys.executable, str(script), *map(str, arguments)],
            cwd=tmp_path,
            env={**os.environ, **environment, "PYTHONPATH": os.pathsep.join(paths)},
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            text=True,
            errors="surrogateescape",
        )

    return started


@pytest.fixture
def run(start, tmp_path):
    """Runs a script; of its own interpreter if that starts in another way than usual."""

    def done(script, *arguments, **keywords):
        if not keywords:
            found = processes.run([sys.executable, script, *arguments], cwd=tmp_path)
            return found.returncode, found.stdout, found.stderr
        process = start(script, *arguments, **keywords)
        output, errors = process.communicate(timeout=300)
        return process.returncode, output, errors

    return done


@pytest.fixture(scope="module")
def expand():
    sys.path.insert(0, str(SCRIPTS))
    from cli import expand_flagfiles

    sys.path.remove(str(SCRIPTS))
    return expand_flagfiles


@pytest.mark.parametrize(
    "text, words",
    [
        ("--model=a\nlr=0.5\n", "flagfile a.flags, line 2: a line must be --flag=value"),
        ("--model=a\n--lr 0.5\n", "flagfile a.flags, line 2: a line must be --flag=value"),
        ("--flagfile b.flags\n", "flagfile a.flags, line 1: a line must be --flag=value"),
        ("# K\xe4se\n--model=a\n", "flagfile a.flags is not UTF-8 text, see its byte 3"),
        ("--flagfile=a.flags\n", "flagfile a.flags includes itself"),
        ("--flagfile=\n", "--flagfile must name a file"),
    ],
)
def test_flagfiles_that_cannot_be_read(text, words, expand, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    (tmp_path / "a.flags").write_bytes(text.encode("latin-1"))
    with pytest.raises(UserError, match=words):
        expand(["--flagfile=a.flags"])


def test_flagfiles_are_put_in_their_place(expand, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    (tmp_path / "a.flags").write_text("# a\n // b\n\n  --lr=1\n-flagfile=b.flags\n--nodownload\n")
    (tmp_path / "b.flags").write_text("--option=a=(1, 2)")
    inside = ["--lr=1", "--option=a=(1, 2)", "--nodownload"]
    assert expand(["-x", "--flagfile", "a.flags", "y"]) == ["-x", *inside, "y"]
    assert expand(["--flagfile=a.flags", "--flagfile=b.flags"]) == [*inside, inside[1]]
    assert expand(["--", "--flagfile=a.flags"]) == ["--", "--flagfile=a.flags"]


def test_wrong_flags_take_one_line(run, tmp_path):
    (tmp_path / "a.flags").write_text("lr=0.5")
    for argument, words in (
        ("--flagfile=a.flags", "flagfile a.flags, line 1: a line must be --flag=value or begin"),
        ("--flagfile=none.flags", "[Errno 2] No such file or directory: 'none.flags'"),
        ("--epochs=x", "flag --epochs=x: invalid literal for int() with base 10: 'x'\n"),
        ("--modle=resnet20", "Unknown command line flag 'modle'. Did you mean: model ?\n"),
    ):
        code, output, errors = run(TRAIN, argument)
        assert (code, output) == (1, "")
        assert errors.startswith(f"error: {words}") and errors.count("\n") == 1


@pytest.mark.parametrize(
    "script, name",
    [
        ("models.py", "image_size"),
        ("export.py", "max_pixels"),
        *(
            pytest.param(*case, marks=pytest.mark.slow)
            for case in (
                ("evaluate.py", "image_size"),
                ("evaluate.py", "max_pixels"),
                ("export.py", "top"),
                ("write_images.py", "count"),
            )
        ),
    ],
)
def test_numbers_beyond_what_tensorflow_counts_to(script, name, run):
    for value in (10**20, 0):
        code, output, errors = run(SCRIPTS / script, f"--{name}={value}")
        assert (code, output) == (1, "")
        assert errors.startswith(f"error: flag --{name}={value}: {value} is not an integer in the")
        assert errors.count("\n") == 1


@pytest.mark.slow
def test_a_flagfile_of_windows(run, tmp_path):
    """A byte order mark and its line ends, in an ASCII locale too."""
    (tmp_path / "b.flags").write_bytes("\ufeff--model=resnet20\r\n--dataset=none\r\n".encode())
    (tmp_path / "a.flags").write_bytes("\ufeff# Käse\r\n--flagfile=b.flags\r\n".encode())
    code, _, errors = run(TRAIN, "--flagfile", "a.flags", "--lr=0", **ASCII)
    assert code == 1 and errors.startswith("error: `lr` must be above 0")


INTERRUPT = """
import os, signal, sys

class Interrupt:
    def find_spec(self, name, path=None, target=None):
        if name == {name!r} and not hasattr(self, "done"):
            self.done = True
            os.kill(os.getpid(), signal.SIGINT)

sys.meta_path.insert(0, Interrupt())
"""


@pytest.mark.parametrize(
    "script, module",
    [
        (MODELS, "tensorflow.python.framework.ops"),
        (TRAIN, "h5py._conv"),
        (TRAIN, "keras_resnets.training.recipe"),
    ],
)
def test_control_c_while_importing(script, module, run):
    code, output, errors = run(script, customize=INTERRUPT.format(name=module))
    assert (code, output, errors) == (130, "", "interrupted\n")


READ_ONLY = """
import os, tempfile

def none(*_):
    raise FileNotFoundError(2, "No usable temporary directory found")

tempfile._get_default_tempdir = none
access = os.access
os.access = lambda path, mode: {shared} if path == "/dev/shm" else access(path, mode)
"""


NOWHERE = {"HOME": "/proc/none", "MPLCONFIGDIR": "/proc/none"}


def test_a_read_only_machine(run):
    code, output, errors = run(MODELS, "x", customize=READ_ONLY.format(shared=False), **NOWHERE)
    assert (code, output) == (1, "")
    assert errors == "error: no temporary folder is writable: set TMPDIR to one that is\n"


@pytest.mark.slow
@pytest.mark.skipif(not os.access("/dev/shm", os.W_OK), reason="needs a writable /dev/shm")
def test_a_read_only_machine_with_a_folder_in_memory(run):
    code, output, errors = run(
        MODELS, "resnet20", customize=READ_ONLY.format(shared=True), **NOWHERE
    )
    assert code == 0, errors
    assert "| `resnet20` |" in output and errors == ""


def test_what_cannot_be_measured(run):
    code, output, errors = run(SCRIPTS / "benchmark.py", "--precisions=float33")
    assert (code, output) == (1, "")
    assert errors.startswith("error: `--precisions` must be of float32, mixed_float16, ")
    assert errors.endswith(" Received: ['float33']\n")
    code, output, errors = run(
        SCRIPTS / "benchmark.py", "--suite=inference", "--precisions=float32,mixed_float16"
    )
    assert (code, output) == (1, "")
    assert errors == (
        "error: `--precisions` must be of float32, mixed_bfloat16. Received: ['mixed_float16']\n"
    )


def test_a_benchmarks_file_is_tried_before_anything_is_measured(run):
    code, output, errors = run(SCRIPTS / "benchmark.py", "--json=/nonexistent/x.json")
    assert (code, output) == (1, "")
    assert errors.startswith("error: ") and "/nonexistent/x.json" in errors


def test_nobody_reads_to_the_end(start):
    process = start(MODELS, "resnet2*", "--by=layer")
    process.stdout.readline()
    process.stdout.close()
    assert process.wait(timeout=300) == 128 + signal.SIGPIPE
    assert process.stderr.read() == ""


FAILS = """
import sys
sys.path.insert(0, {scripts!r})
from cli import run
import keras, keras_resnets
from keras_resnets.errors import UserError

def main():
    {code}

run(main)
"""


@pytest.mark.parametrize(
    "code, told",
    [
        ("raise UserError('`lr` must be\\n  above 0')", "error: `lr` must be above 0\n"),
        ("open('none.txt')", "error: [Errno 2] No such file or directory: 'none.txt'\n"),
        ("keras_resnets.ResNet20(stem='x')", "error: `stem` must be one of"),
        ("keras.layers.Dense(-1)", None),
        ("exec(compile('int(str())', keras_resnets.__file__, 'exec'))", None),
        ("import tensorflow as tf; tf.zeros([2**40, 2**20])", None),
    ],
)
def test_defects_keep_their_traceback(code, told, run, tmp_path):
    (tmp_path / "fails.py").write_text(FAILS.format(scripts=str(SCRIPTS), code=code))
    status, _, errors = run(tmp_path / "fails.py")
    assert status == 1
    if told:
        assert errors.startswith(told) and errors.count("\n") == 1
    else:
        assert "Traceback" in errors and "error: " not in errors.splitlines()[0]


@pytest.mark.slow
def test_class_names_in_an_ascii_locale(run, tmp_path):
    code = "print('K\\u00e4se'); raise UserError('no \\u00e4rger')"
    (tmp_path / "fails.py").write_text(FAILS.format(scripts=str(SCRIPTS), code=code))
    _, output, errors = run(tmp_path / "fails.py", **ASCII)
    assert (output, errors) == ("K\\xe4se\n", "error: no \\xe4rger\n")


@pytest.mark.slow
def test_names_of_files_in_an_ascii_locale(run, tmp_path):
    for name in ("Käse", "Brot"):
        (tmp_path / "fotos" / name).mkdir(parents=True)
        for index in range(10):
            pixels = np.full((8, 8, 3), index)
            keras.utils.save_img(tmp_path / "fotos" / name / f"ü{index}.png", pixels)
    flags = ["--model=resnet_cifar", "--option=depth=8", "--batch_size=4", "--epochs=1"]
    code, _, errors = run(TRAIN, *flags, "--dataset=fotos", "--run_dir=läufe/eins", **ASCII)
    assert code == 0, errors
    assert "--run_dir=läufe/eins" in (tmp_path / "läufe" / "eins" / "flags.txt").read_text("utf-8")
    model = keras.saving.load_model(tmp_path / "läufe" / "eins" / "last.keras")
    assert model.class_names == ("Brot", "Käse")


def test_wherever_images_are_asked_for_lists_are_named():
    texts = [path.read_text() for path in (*SCRIPTS.glob("*.py"), RECIPE)]
    asked = [re.sub(r'"\s*f?"', "", text).partition("tfds name, `digits`")[2] for text in texts]
    asked = [words[:60] for words in asked if words]
    assert len(asked) > 4 and all("CSV list" in words for words in asked), asked


@pytest.mark.parametrize("closed", ["<&-", ">&-", "2>&-"])
def test_streams_that_are_closed(closed, tmp_path):
    """As some supervisors start a process."""

    def run(*arguments):
        command = [sys.executable, str(SCRIPTS / "predict.py"), "--saved_model=x", *arguments]
        return subprocess.run(
            ["sh", "-c", f'exec "$0" "$@" {closed}', *command],
            cwd=tmp_path, stdin=subprocess.DEVNULL, capture_output=True, text=True, timeout=300,
        )

    listed = run("-")
    told = "error: `-` stands for a list of images on stdin, a name a line: it is empty\n"
    assert (listed.returncode, listed.stdout) == (1, "")
    assert listed.stderr == ("" if closed == "2>&-" else told)
    assert ("skip_corrupt" in run("--help").stdout) == (closed != ">&-")
