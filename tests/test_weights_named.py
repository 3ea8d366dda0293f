"""Weights by name: found in the caches, fetched from a server of our own, or refused in a line."""

import dataclasses
import functools
import hashlib
import http.server
import pathlib
import threading

import numpy as np
import pytest
from slow import first

import keras_resnets
from keras_resnets import weights
from keras_resnets.errors import UserError
from keras_resnets.weights import named

DIGITS = 8


@pytest.fixture
def caches(tmp_path, monkeypatch):
    """Folders of torch and of ours that no other test uses."""
    monkeypatch.setenv("TORCH_HOME", str(tmp_path / "torch"))
    monkeypatch.setenv(named.OTHER_CACHE, str(tmp_path / "ours"))
    monkeypatch.setenv(named.OTHER_ADDRESS, "http://127.0.0.1:9/models/")  # nobody listens there
    return tmp_path / "torch" / "hub" / "checkpoints", tmp_path / "ours"


@pytest.fixture
def published(tmp_path, monkeypatch):
    """A set of ResNet18, as if torchvision had published it: its network and its file."""
    source = keras_resnets.ResNet18()
    path = tmp_path / "published.safetensors"
    weights.save(source, path)
    digits = hashlib.sha256(path.read_bytes()).hexdigest()[:DIGITS]
    file = f"resnet18-{digits}.safetensors"
    known = named.NamedWeights("resnet18", "IMAGENET1K_V1", file, 232, 224, 70.0, 90.0)
    monkeypatch.setattr(named, "SETS", (known,))
    return source, path, file


@pytest.fixture
def serve(tmp_path, monkeypatch):
    """Starts a server of a folder on the loopback and makes it the address."""
    servers = []

    def started(folder, handler=http.server.SimpleHTTPRequestHandler):
        class Quiet(handler):
            def log_message(self, *_):
                pass

        server = http.server.ThreadingHTTPServer(
            ("127.0.0.1", 0), functools.partial(Quiet, directory=folder)
        )
        threading.Thread(target=server.serve_forever, daemon=True).start()
        servers.append(server)
        monkeypatch.setenv(named.OTHER_ADDRESS, f"http://127.0.0.1:{server.server_port}/")

    yield started
    for server in servers:
        server.shutdown()
        server.server_close()


def put(path, folder, name):
    folder.mkdir(parents=True, exist_ok=True)
    (folder / name).write_bytes(path.read_bytes())


def assert_is(network, source):
    for found, expected in zip(network.get_weights(), source.get_weights(), strict=True):
        np.testing.assert_array_equal(found, expected)


@pytest.mark.parametrize("place", [0, 1], ids=("torch's", "ours"))
@pytest.mark.parametrize("name", first(2, ["IMAGENET1K_V1", "default", "DEFAULT", "imagenet"]))
def test_a_set_is_found_in_the_caches(caches, published, place, name):
    source, path, file = published
    put(path, caches[place], file)
    network = keras_resnets.ResNet18(weights=name)
    assert_is(network, source)
    assert network.preprocessing.resize == 232
    assert network.preprocessing.crop == (224, 224)
    assert network.class_names[0] == "tench"


def test_a_set_is_fetched_once(caches, published, serve, tmp_path, capsys):
    source, path, file = published
    put(path, tmp_path / "server", file)
    serve(tmp_path / "server")
    assert_is(keras_resnets.ResNet18(weights="IMAGENET1K_V1"), source)
    assert f"{file} to {caches[1] / file}" in capsys.readouterr().out
    assert [p.name for p in caches[1].iterdir()] == [file]
    (tmp_path / "server" / file).unlink()
    assert_is(keras_resnets.ResNet18(weights="IMAGENET1K_V1"), source)


class Short(http.server.SimpleHTTPRequestHandler):
    """Promises more than it sends."""

    def do_GET(self):
        self.send_response(200)
        self.send_header("Content-Length", "1000000")
        self.end_headers()
        self.wfile.write(b"x" * 1000)


@pytest.mark.parametrize(
    ("how", "words"),
    [
        ("offline", "Cannot fetch .*: .*refused"),
        ("missing", "Cannot fetch .*: File not found"),
        ("short", "Cannot fetch .*1000 of 1000000 bytes"),
        ("other", "is not the published file: its SHA-256 begins with"),
    ],
)
def test_what_cannot_be_fetched_is_one_line_and_leaves_nothing(
    caches, published, serve, tmp_path, how, words
):
    _, path, file = published
    (tmp_path / "server").mkdir()
    if how == "other":
        (tmp_path / "server" / file).write_bytes(b"<html>")
    if how == "short":
        serve(tmp_path / "server", Short)
    elif how != "offline":
        serve(tmp_path / "server")
    with pytest.raises(OSError, match=words) as error:
        keras_resnets.ResNet18(weights="IMAGENET1K_V1")
    text = str(error.value)
    assert "\n" not in text
    assert "http://127.0.0.1" in text
    assert str(caches[1] / file) in text
    assert not list(caches[1].iterdir())


def test_a_damaged_file_in_a_cache_is_named_and_kept(caches, published):
    _, path, file = published
    put(path, caches[0], file)
    (caches[0] / file).write_bytes(b"half")
    with pytest.raises(OSError, match="is not the published file.*remove it") as error:
        keras_resnets.ResNet18(weights="IMAGENET1K_V1")
    assert str(caches[0] / file) in str(error.value)
    assert (caches[0] / file).read_bytes() == b"half"


@pytest.mark.parametrize(
    ("builder", "name", "words"),
    [
        ("ResNet50", "IMAGENET1K_V3", "Did you mean 'IMAGENET1K_V2'"),
        ("ResNet18", "IMAGENET1K_V2", "resnet18 has IMAGENET1K_V1, DEFAULT, imagenet"),
        ("ResNet50", "imagnet", "Did you mean 'imagenet'"),
        ("ResNet50V2", "IMAGENET1K_V1", "Known are sets of resnet18, resnet34"),
        ("ResNet20", "cifar100", "Did you mean 'cifar10'"),
    ],
)
def test_an_unknown_name_is_answered_by_those_that_are_known(builder, name, words, caches):
    with pytest.raises(UserError, match=words) as error:
        getattr(keras_resnets, builder)(weights=name)
    assert "\n" not in str(error.value)


def test_every_set_is_of_a_network_that_is_here():
    names = [(known.model, known.name) for known in named.SETS]
    assert len(set(names)) == len(names) == 17
    for known in named.SETS:
        assert known.model in keras_resnets.list_models()
        assert known.file.startswith(f"{known.model}-")
        assert len(known.digits) == DIGITS
        int(known.digits, 16)
        assert 0 < known.top1 < known.top5 < 100
    last = named.find("DEFAULT", "resnet50")
    assert last.name == "IMAGENET1K_V2"
    assert dataclasses.asdict(last)["resize"] == 232


def test_the_packaged_network():
    path = pathlib.Path(named.PACKAGED["cifar10"][1])
    assert path.stat().st_size <= 600_000
    network = keras_resnets.ResNet20(weights="cifar10")
    assert network.class_names[3] == "cat"
    assert network.options == keras_resnets.ResNet20().options
    assert_is(weights.open("cifar10"), network)
    kinds = {str(tensor.dtype) for key, tensor in weights.read(path).tensors.items() if "bn" in key}
    assert kinds == {"float32"}


def test_the_packaged_network_scores_as_recorded():
    import tensorflow_datasets as tfds

    try:
        test = tfds.load("cifar10", split="test", batch_size=-1, download=False)
    except Exception:  # tfds raises what the missing part of it happens to raise
        pytest.skip("needs CIFAR-10: tensorflow_datasets.load('cifar10') prepares it")
    network = keras_resnets.ResNet20(weights="cifar10")
    logits = network.predict(network.preprocessing(test["image"]), batch_size=500, verbose=0)
    right = int((logits.argmax(-1) == np.asarray(test["label"])).sum())
    assert right == 9099
