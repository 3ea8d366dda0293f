"""Files of weights: every kind is read as it is, and nothing that they name is run."""

import io
import pathlib
import pickle
import zipfile

import h5py
import keras
import numpy as np
import pytest
import safetensors.numpy

import keras_resnets
from keras_resnets import weights
from keras_resnets.errors import UserError
from keras_resnets.weights import files, torch_files
from keras_resnets.weights.tensors import as_tensor

DATA = pathlib.Path(__file__).parent / "data"
TORCH = (DATA / "torch_zip.pth", DATA / "torch_legacy.th")


@pytest.mark.parametrize("path", TORCH, ids=("zip", "legacy"))
def test_torch_files_hold_what_torch_wrote(path):
    checkpoint = weights.read(path)
    numbers = np.arange(24.0).reshape(2, 3, 4)
    expected = {
        "float32": numbers,
        "tied": numbers,
        "strided": numbers.transpose(2, 0, 1)[1:, :, ::2],
        "expanded": np.ones((3, 2)),
        "scalar": np.float32(7),
        "empty": np.zeros((0, 3)),
        "parameter": numbers + 0.5,
        **{kind: numbers for kind in ("float64", "float16", "bfloat16", "int64")},
    }
    assert set(checkpoint.tensors) == set(expected)
    for name, values in expected.items():
        tensor = checkpoint.tensors[name]
        assert tensor.shape == np.shape(values)
        np.testing.assert_array_equal(tensor.as_float32(), np.float32(values))
    kinds = {name: str(checkpoint.tensors[name].dtype) for name in ("float64", "bfloat16", "tied")}
    assert kinds == {"float64": "float64", "bfloat16": "bfloat16", "tied": "float32"}
    assert checkpoint.notes == (
        "the weights under `state_dict` were taken",
        "`module.` was taken off the names",
    )


class Evil:
    def __init__(self, function, *arguments):
        self.call = (function, arguments)

    def __reduce__(self):
        return self.call


def torch_zip(content):
    target = io.BytesIO()
    with zipfile.ZipFile(target, "w") as archive:
        archive.writestr("net/data.pkl", pickle.dumps(content, 2))
        archive.writestr("net/version", "3")
    return target.getvalue()


def torch_legacy(content):
    header = [0x1950A86A20F9469CFC6C, 1001, {"little_endian": True}]
    return b"".join(pickle.dumps(part, 2) for part in (*header, content, []))


@pytest.mark.parametrize("write", [torch_zip, torch_legacy])
@pytest.mark.parametrize("at", ["whole", "beside", "header"])
def test_code_in_a_pickle_is_refused_by_name_and_not_run(write, at, tmp_path):
    mark = tmp_path / "ran"
    evil = Evil(open, str(mark), "w")
    if at == "header":
        data = pickle.dumps(evil, 2)
    else:
        data = write(evil if at == "whole" else {"state_dict": {}, "args": evil})
    (tmp_path / "net.pth").write_bytes(data)
    words = r"net\.pth: it asks to run (_?io)\.open.* not run"
    with pytest.raises(UserError, match=words) as error:
        weights.read(tmp_path / "net.pth")
    assert "\n" not in str(error.value)
    assert not mark.exists()


@pytest.mark.parametrize(
    "named",
    [
        "os.system",
        "builtins.eval",
        "builtins.getattr",
        "numpy.load",
        "torch.nn.modules.conv.Conv2d",
    ],
)
def test_whatever_is_no_plain_data_is_refused(named, tmp_path):
    module, _, name = named.rpartition(".")
    code = f"c{module}\n{name}\n(S'x'\ntR.".encode()
    target = io.BytesIO()
    with zipfile.ZipFile(target, "w") as archive:
        archive.writestr("net/data.pkl", code)
    (tmp_path / "net.pt").write_bytes(target.getvalue())
    with pytest.raises(UserError, match=named.replace(".", r"\.")) as error:
        weights.read(tmp_path / "net.pt")
    assert ("state_dict()" in str(error.value)) == named.startswith("torch")


@pytest.mark.parametrize("name", ["FloatStorage", "_utils\n_rebuild_tensor_v2", "Size"])
def test_no_function_and_no_kind_is_changed(name, tmp_path):
    module = "torch._utils" if "\n" in name else "torch"
    name = name.rpartition("\n")[2]
    target = io.BytesIO()
    with zipfile.ZipFile(target, "w") as archive:
        archive.writestr("net/data.pkl", f"c{module}\n{name}\n(dS'x'\nI1\nsb.".encode())
    (tmp_path / "net.pt").write_bytes(target.getvalue())
    with pytest.raises(UserError, match="sets attributes of a .*, which is refused"):
        weights.read(tmp_path / "net.pt")


@pytest.mark.parametrize(
    ("offset", "shape", "strides"),
    [(0, (5,), (1,)), (2, (3,), (1,)), (0, (2, 2), (3, 1)), (-1, (1,), (1,)), (0, (2,), (-1,)),
     (0, (10**6, 10**6), (0, 0))],
)
def test_tensors_do_not_reach_beyond_their_numbers(offset, shape, strides):
    storage = torch_files._Storage(np.dtype(np.float32), 16, lambda first, count: bytes(count))
    with pytest.raises(UserError):
        torch_files._rebuild(storage, offset, shape, strides)


@pytest.mark.parametrize("path", [*TORCH, "safetensors", "npz", "keras", "weights.h5"], ids=str)
def test_no_truncation_passes(path, tmp_path, rng):
    if path in TORCH:
        suffix, data = path.suffix, path.read_bytes()
    else:
        source, suffix = tmp_path / f"whole.{path}", f".{path}"
        values = {"a": rng.normal(size=(3, 4)).astype(np.float32)}
        if path == "safetensors":
            safetensors.numpy.save_file(values, source)
        elif path == "npz":
            np.savez(source, **values)
        else:
            model = keras.Sequential([keras.Input((3,)), keras.layers.Dense(2)])
            (model.save if path == "keras" else model.save_weights)(source)
        data = source.read_bytes()
    target = tmp_path / f"cut{suffix}"
    for length in np.linspace(0, len(data) - 1, 60).astype(int):
        target.write_bytes(data[:length])
        with pytest.raises(UserError) as error:
            for tensor in weights.read(target).tensors.values():
                tensor.read()
        assert "\n" not in str(error.value)


def test_what_is_no_file_of_weights(tmp_path):
    for name, data, words in (
        ("page.pth", b"<!DOCTYPE html><html>not found</html>", "a web page"),
        ("empty.pth", b"", "it is empty"),
        ("text.pth", b"hello", "no file of torch.save"),
        ("zip.pth", zip_of("readme.txt"), "without data.pkl"),
        ("page.safetensors", b"<html>" * 9, "truncated or damaged"),
        ("page.npz", b"<html>" * 9, "truncated or damaged"),
        ("page.h5", b"<html>" * 9, "truncated or damaged"),
        ("photo.jpg", b"x", "must be one of"),
        ("list.pth", torch_zip([1, 2]), "not a dictionary"),
        ("none.pth", torch_zip({"epoch": 1}), "holds no tensors"),
    ):
        (tmp_path / name).write_bytes(data)
        with pytest.raises(UserError, match=words) as error:
            weights.read(tmp_path / name)
        assert name in str(error.value)
        assert "\n" not in str(error.value)
    with pytest.raises(FileNotFoundError, match=r"no file of weights .*none\.pth2"):
        weights.read(tmp_path / "none.pth2")
    with pytest.raises(UserError, match="is a folder"):
        weights.read(tmp_path)


def zip_of(name):
    target = io.BytesIO()
    with zipfile.ZipFile(target, "w") as archive:
        archive.writestr(name, "x")
    return target.getvalue()


def test_pickled_arrays_in_npz_are_not_loaded(tmp_path):
    mark = tmp_path / "ran"
    np.savez(tmp_path / "x.npz", a=np.array([Evil(open, str(mark), "w")], object))
    mark.unlink(missing_ok=True)  # NumPy itself may have called it to write
    with pytest.raises(UserError):
        weights.read(tmp_path / "x.npz")
    assert not mark.exists()


@pytest.mark.parametrize(
    ("names", "taken"),
    [
        (("model", "optimizer"), ("model",)),
        (("state_dict", "loss"), ("state_dict",)),
        (("state_dict", "state_dict_ema"), ("state_dict_ema",)),
        (("model", "model_ema"), ("model_ema",)),
        (("net", "acc"), ("net",)),
        (("model", "state_dict", "nested"), ("model", "state_dict")),
    ],
)
def test_what_is_around_the_weights_is_taken_off_and_said(names, taken):
    """Averaged weights come before those of the last step, as in timm."""
    content = {name: {f"of {name}": as_tensor(np.zeros(2))} for name in names}
    content |= {name: as_tensor(np.zeros(())) for name in ("loss", "acc") if name in names}
    if "nested" in names:
        content = {"model": {"state_dict": content["state_dict"]}}
    found, notes = files.unwrap(content)
    assert list(found) == [f"of {taken[-1]}"]
    assert notes == tuple(f"the weights under `{name}` were taken" for name in taken)


def test_keras_files_are_addressed_by_layer_and_number(tmp_path):
    network = keras_resnets.ResNet20(survival=0.5)
    network.save(tmp_path / "net.keras")
    network.save_weights(tmp_path / "net.weights.h5")
    expected = {
        f"{layer.name}/{number}": np.asarray(variable)
        for layer in network.layers
        if not isinstance(layer, keras_resnets.layers.Merge)
        for number, variable in enumerate(layer.weights)
        if "seed" not in variable.path
    }
    for name in ("net.keras", "net.weights.h5"):
        tensors = weights.read(tmp_path / name).tensors
        assert expected.keys() <= tensors.keys()
        for key, value in expected.items():
            np.testing.assert_array_equal(tensors[key].read(), value)


def test_a_file_of_another_program_is_only_read(tmp_path):
    with h5py.File(tmp_path / "x.h5", "w") as file:
        file["table"] = np.zeros(3)
    with pytest.raises(UserError, match="holds no tensors"):
        weights.read(tmp_path / "x.h5")
