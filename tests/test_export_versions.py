"""The folders of exports: versions, and what is left when one is killed or fails."""

import os
import subprocess
import sys

import pytest
import tensorflow as tf
from test_export import plain_model

from keras_resnets import Preprocessing, UserError
from keras_resnets.serving import export, export_onnx, export_openvino


@pytest.fixture(scope="module")
def served_model():
    model = plain_model()
    model.preprocessing = Preprocessing((0.5,) * 3, (0.25,) * 3)
    return model


def test_versions_go_on_from_the_highest(served_model, tmp_path):
    for entry in ("2", "10", "draft"):
        (tmp_path / "net" / entry).mkdir(parents=True)
    (tmp_path / "net" / "10" / "file").touch()
    assert export(served_model, "net", tmp_path) == str(tmp_path / "net" / "11")


@pytest.mark.parametrize("error", [OSError("disk full"), KeyboardInterrupt()])
def test_a_failed_export_leaves_nothing(error, served_model, monkeypatch, tmp_path):
    def fail(module, path, signatures):
        with open(os.path.join(path, "saved_model.pb"), "w") as file:
            file.write("half")
        raise error

    monkeypatch.setattr(tf.saved_model, "save", fail)
    with pytest.raises(type(error)):
        export(served_model, "net", tmp_path)
    assert os.listdir(tmp_path) == []
    (tmp_path / "net").mkdir()
    with pytest.raises(type(error)):
        export(served_model, "net", tmp_path)
    assert os.listdir(tmp_path / "net") == []


WRITERS = {
    "saved_model": (export, None),
    "openvino": (export_openvino, "openvino"),
    "onnx": (export_onnx, "tf2onnx"),
}


@pytest.mark.parametrize("form", WRITERS)
def test_what_would_fail_at_the_end_fails_at_the_start(form, tmp_path):
    """Before the model is looked at."""
    write, needed = WRITERS[form]
    if needed:
        pytest.importorskip(needed, reason="an extra")
    (tmp_path / "file").touch()
    for root in ("/dev/null/x", tmp_path / "file"):
        with pytest.raises(OSError, match="^Cannot write .*/net: Not a directory$"):
            write(None, "net", root)
    root = tmp_path / "new" / "root"
    with pytest.raises(FileNotFoundError, match=r"missing\.keras"):
        write(None, "net", root, checkpoint=tmp_path / "missing.keras")
    for arguments in ({"keep": "2"}, {"keep": 2.0}, {"keep": True}, {"max_pixels": 5e7}):
        with pytest.raises(UserError, match="must be .*a positive integer. Received: ") as caught:
            write(None, "net", root, **arguments)
        assert "\n" not in str(caught.value)
    with pytest.raises(UserError, match="no preprocessing"):
        write(plain_model(), "net", root)
    assert os.listdir(tmp_path) == ["file"]


def test_too_many_warmup_requests_are_refused_before_a_version_is_written(
    served_model, tmp_path, monkeypatch
):
    pytest.importorskip("tensorflow_serving", reason="an extra")
    monkeypatch.setattr(tf.saved_model, "save", None)
    with pytest.raises(UserError, match="takes 1000 warm-up requests: give fewer batch sizes"):
        export(served_model, "net", tmp_path, warmup_batch_sizes=range(1, 502))
    assert os.listdir(tmp_path) == []


KILLED = """
import os, signal
import keras
import tensorflow as tf
from keras_resnets import Preprocessing
from keras_resnets.serving import export

image = keras.Input((8, 8, 3))
model = keras.Model(image, keras.layers.GlobalAveragePooling2D()(image))
model.preprocessing = Preprocessing((0.5,) * 3, (0.25,) * 3)
save = tf.saved_model.save

def stop(*arguments):
    save(*arguments)
    print("saved", flush=True)
    os.kill(os.getpid(), signal.SIGSTOP)

tf.saved_model.save = stop
export(model, "model", "root")
"""


def test_what_a_killed_export_left_goes_with_the_next_one(served_model, tmp_path):
    folder = tmp_path / "root" / "model"
    process = subprocess.Popen(
        [sys.executable, "-c", KILLED], cwd=tmp_path, stdout=subprocess.PIPE, text=True
    )
    assert process.stdout.readline() == "saved\n"
    (part,) = folder.iterdir()
    assert part.name.startswith(".export-") and (part / "saved_model.pb").exists()
    export(served_model, "model", tmp_path / "root")
    assert part.exists()  # it is at work still, however slowly
    process.kill()
    process.wait()
    export(served_model, "model", tmp_path / "root")
    assert sorted(path.name for path in folder.iterdir()) == ["1", "2"]


def test_a_version_is_whole_when_it_appears(served_model, monkeypatch, tmp_path):
    seen, rename = [], os.rename

    def look(source, target):
        seen.append((sorted(os.listdir(source)), os.listdir(os.path.dirname(target))))
        rename(source, target)

    monkeypatch.setattr(os, "rename", look)
    path = export(served_model, "net", tmp_path)
    ((files, beside),) = seen
    assert sorted(os.listdir(path)) == files
    assert {"saved_model.pb", "variables", "assets.extra"} <= set(files)
    assert not any(name.isdecimal() for name in beside)


def test_a_faster_exporter_takes_its_version(served_model, monkeypatch, tmp_path):
    rename = os.rename
    (tmp_path / "net").mkdir()

    def late(source, target):
        if target.endswith("1"):
            os.mkdir(target)
            with open(os.path.join(target, "saved_model.pb"), "w") as file:
                file.write("the other's")
        rename(source, target)

    monkeypatch.setattr(os, "rename", late)
    assert export(served_model, "net", tmp_path) == str(tmp_path / "net" / "2")
    assert (tmp_path / "net" / "1" / "saved_model.pb").read_text() == "the other's"
