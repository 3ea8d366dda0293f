"""Fixtures for all tests: repeatable random numbers and a clean global state."""

import atexit
import gc
import os
import shutil
import subprocess
import sys
import tempfile

os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "3")
sys.modules["openvino_telemetry"] = None  # tests that import OpenVINO themselves report nothing too
# No test, and no process that one starts, finds or leaves what another remembered of its files.
os.environ["XDG_CACHE_HOME"] = tempfile.mkdtemp(prefix="keras_resnets_cache_")
atexit.register(shutil.rmtree, os.environ["XDG_CACHE_HOME"], ignore_errors=True)

import keras_resnets  # noqa: E402, F401, I001 - before TensorFlow, whose oneDNN it asks for
import keras  # noqa: E402
import numpy as np  # noqa: E402
import processes  # noqa: E402
import pytest  # noqa: E402
import tensorflow  # noqa: E402, F401

gc.freeze()  # what stays is not looked at once more whenever a session is cleared

pytest_plugins = ("weights_helpers", "recipe_helpers")  # the fixtures `write`, `script`, `parse`


@pytest.fixture(autouse=True)
def clean_state():
    """The same random numbers in every test, float32, and no graph of an earlier test."""
    keras.utils.set_random_seed(0)
    yield
    keras.config.set_dtype_policy("float32")
    keras.backend.clear_session()


@pytest.fixture
def rng():
    return np.random.default_rng(0)


@pytest.fixture
def run_python(tmp_path):
    """Runs a piece of code in a fresh process and returns what it printed."""

    def run(code, check=True, **environment):
        done = subprocess.run(
            [sys.executable, "-c", code],
            cwd=tmp_path,
            env={**os.environ, **environment},
            capture_output=True,
            text=True,
            timeout=600,
        )
        assert not check or done.returncode == 0, done.stderr[-3000:]
        return done

    return run


@pytest.fixture
def run_code(tmp_path):
    """As `run_python`, in a process that has imported this package before."""

    def run(code):
        done = processes.run([sys.executable, "-c", code], cwd=tmp_path)
        assert done.returncode == 0, done.stderr[-3000:]
        return done

    return run
