"""OpenVINO and ONNX: equal to the network, readable without this package, never mixed up."""

import json
import os
from concurrent.futures import ThreadPoolExecutor

import keras
import numpy as np
import pytest
import tensorflow as tf
from test_export import NAMES, encode, expected, pictures, small_network

import keras_resnets
from keras_resnets import Preprocessing, UserError
from keras_resnets.serving import Predictor, export, export_onnx, export_openvino, readers
from keras_resnets.serving.formats import METADATA, read_metadata

FORMATS = {"openvino": (export_openvino, "openvino"), "onnx": (export_onnx, "onnxruntime")}


@pytest.fixture(params=FORMATS)
def write(request):
    """Each function that exports in one of the two formats."""
    function, runtime = FORMATS[request.param]
    pytest.importorskip(runtime, reason=f"reads {request.param} files, an extra")
    if request.param == "onnx":
        pytest.importorskip("tf2onnx", reason="writes ONNX files, an extra")
    return function


def own_size(model, rng, count=5):
    """Pixels of the network's own size, and its answers in float32."""
    images = rng.integers(0, 256, (count, *model.input_shape[1:]), dtype=np.uint8)
    logits = model(model.preprocessing.standardize(images), training=False)
    return images, tf.nn.softmax(logits).numpy()


ALONE = {
    "openvino": """
import json, sys
import numpy as np
sys.modules["keras_resnets"] = sys.modules["keras"] = sys.modules["tensorflow"] = None
import openvino
path, data = {path!r}, np.load({data!r})
settings = json.load(open(path + "/assets.extra/metadata.json"))["plugin_config"]
assert settings == {{"INFERENCE_PRECISION_HINT": "f32"}}
graph = openvino.Core().read_model(path + "/model.xml")
compiled = openvino.compile_model(graph, "CPU", settings)
(image,), (probabilities,) = graph.inputs, graph.outputs
assert image.get_names() == {{"image"}} and image.element_type == openvino.Type.u8
assert str(image.partial_shape) == "[?,16,16,3]", image.partial_shape
assert probabilities.get_names() == {{"probabilities"}}
types = {{node.get_element_type().get_type_name() for node in graph.get_ops()}}
assert "f16" not in types
run = lambda images: compiled({{"image": images}})["probabilities"]
""",
    "onnx": """
import sys
import numpy as np
sys.modules["keras_resnets"] = sys.modules["keras"] = sys.modules["tensorflow"] = None
import onnxruntime
path, data = {path!r}, np.load({data!r})
session = onnxruntime.InferenceSession(path + "/model.onnx", providers=["CPUExecutionProvider"])
(image,), (probabilities,) = session.get_inputs(), session.get_outputs()
assert (image.name, image.type) == ("image", "tensor(uint8)")
assert image.shape == ["batch", 16, 16, 3] and probabilities.shape == ["batch", 6]
run = lambda images: session.run(["probabilities"], {{"image": images}})[0]
""",
}
COMPARE = """
for count in (1, 5):
    answer = run(data["images"][:count])
    np.testing.assert_allclose(answer, data["expected"][:count], atol=1e-5)
print("same")
"""


@pytest.mark.parametrize("policy", ["float32", "mixed_bfloat16"])
def test_files_equal_the_float32_network_without_this_package(
    write, policy, rng, run_python, tmp_path
):
    model = small_network(policy)
    path = write(model, "net", tmp_path / "served")
    assert path == str(tmp_path / "served" / "net" / "1")
    twin = small_network()
    twin.set_weights(model.get_weights())
    images, probabilities = own_size(twin, rng)
    data = str(tmp_path / "data.npz")
    np.savez(data, images=images, expected=probabilities)
    form = read_metadata(path)["format"]
    assert "same" in run_python(ALONE[form].format(path=path, data=data) + COMPARE).stdout


GROUPED = {
    "depth": 11, "block": "bottleneck", "groups": 4, "width_per_group": 4, "width": 16,
    "shortcut": "B",
}
MEMBERS = {
    "v2": ("resnet_cifar", {"depth": 8, "activation": "full_preact", "shortcut": "A"}),
    "wide": ("wide_resnet", {"depth": 10, "widen": 1}),
    "resnext": ("resnet_cifar", GROUPED),
    "dpn": ("dpn", {"depths": (1, 1), "increments": (4, 4)}),
    "fractalnet": ("fractalnet", {"columns": 2, "blocks": 2}),
    "fusenet": ("fusenet", {"depth": 14}),
    "stochastic depth": ("resnet_cifar", {"depth": 8, "survival": 0.5}),
    "sigmoid": ("resnet_cifar", {"depth": 8, "classifier_activation": "sigmoid"}),
}


@pytest.mark.parametrize("member", MEMBERS)
def test_every_family(write, member, rng, tmp_path):
    name, options = MEMBERS[member]
    model = keras_resnets.create_model(name, num_classes=4, input_shape=(32, 32, 3), **options)
    for layer in model.layers:
        if isinstance(layer, keras.layers.BatchNormalization):
            weights = [w + rng.uniform(0, 0.5, w.shape) for w in layer.get_weights()]
            layer.set_weights(weights)
    model.preprocessing = Preprocessing((0.5, 0.4, 0.3), (0.25, 0.2, 0.3))
    path = write(model, "net", tmp_path)
    images = rng.integers(0, 256, (3, 32, 32, 3), dtype=np.uint8)
    outputs = model(model.preprocessing(images), training=False)
    outputs = outputs if member == "sigmoid" else tf.nn.softmax(outputs)
    predictor = Predictor(path)
    np.testing.assert_allclose(predictor.probabilities(images), outputs, atol=1e-5)
    kind = "sigmoid" if member == "sigmoid" else "softmax"
    assert predictor.metadata["probabilities"] == kind


def test_groups_are_one_operation(tmp_path):
    openvino = pytest.importorskip("openvino", reason="an extra")
    model = keras_resnets.create_model(
        "resnet_cifar", num_classes=4, input_shape=(16, 16, 3), **GROUPED
    )
    model.preprocessing = Preprocessing((0.5,) * 3, (0.25,) * 3)
    path = export_openvino(model, "net", tmp_path)
    graph = openvino.Core().read_model(os.path.join(path, "model.xml"))
    types = [node.get_type_name() for node in graph.get_ops()]
    assert types.count("GroupConvolution") == 3
    assert not {"Split", "VariadicSplit", "BatchNormInference"} & set(types)


def test_metadata_tells_how_to_ask(write, rng, tmp_path):
    model = small_network()
    metadata = read_metadata(write(model, "net", tmp_path, max_pixels=1000))
    assert Preprocessing(**metadata["preprocessing"]) == model.preprocessing
    assert metadata["class_names"] == list(NAMES)
    assert metadata["max_pixels"] == 1000
    assert metadata["input"] == {"name": "image", "dtype": "uint8", "shape": [None, 16, 16, 3]}
    difference = metadata["difference"]
    assert difference["images"] == 64 and difference["same_class"] == 1
    assert difference["probabilities"] < 1e-5


def test_the_difference_is_that_of_the_file(write, rng, tmp_path, monkeypatch):
    model = small_network()
    images = list(rng.integers(0, 256, (3, 30, 20, 3), dtype=np.uint8))
    right = readers.PixelReader.probabilities
    monkeypatch.setattr(
        readers.PixelReader, "probabilities", lambda self, x: right(self, x) + np.float32(5e-4)
    )
    difference = read_metadata(write(model, "net", tmp_path, images=images))["difference"]
    assert difference["images"] == 3 and difference["probabilities"] > 4e-4
    with pytest.raises(UserError, match="`images` must be one image or more of 3 channels"):
        write(model, "net", tmp_path, images=[])


@pytest.mark.parametrize("channels", [1, 3])
def test_files_of_any_size_are_decoded_and_resized_as_in_evaluation(
    write, channels, rng, tmp_path
):
    model = small_network(channels=channels)
    images = pictures(rng, channels)
    predictor = Predictor(write(model, "net", tmp_path), batch_size=2, top=6)
    answers = predictor.predict([encode(image, "PNG") for image in images])
    # To whole pixels, as the format has them: at most half a grey level from evaluation's.
    fitted = [np.round(model.preprocessing.resized(image)) for image in images]
    logits = model(model.preprocessing.standardize(np.stack(fitted)), training=False)
    truth = tf.nn.softmax(logits).numpy()
    for (labels, scores), row in zip(answers, truth, strict=True):
        order = [NAMES.index(label) for label in labels]
        np.testing.assert_allclose(scores, row[order], atol=1e-5)
        assert scores == sorted(scores, reverse=True)
    np.testing.assert_allclose(truth, expected(model, images), atol=0.01)


def test_bfloat16_is_half_the_size_and_near(rng, tmp_path):
    pytest.importorskip("openvino", reason="an extra")
    model = small_network()
    paths = [
        export_openvino(model, precision, tmp_path, precision=precision)
        for precision in ("float32", "bfloat16")
    ]
    sizes = [os.path.getsize(os.path.join(path, "model.bin")) for path in paths]
    assert sizes[1] < 0.6 * sizes[0]
    metadata = read_metadata(paths[1])
    assert metadata["plugin_config"] == {"INFERENCE_PRECISION_HINT": "bf16"}
    assert metadata["precision"] == "bfloat16"
    images, probabilities = own_size(model, rng)
    np.testing.assert_allclose(
        Predictor(paths[1]).probabilities(images), probabilities, atol=0.05
    )


def test_int8_is_quantized_by_the_images_it_is_given(rng, tmp_path):
    openvino = pytest.importorskip("openvino", reason="an extra")
    pytest.importorskip("nncf", reason="quantizes, an extra")
    model = small_network()
    images = list(rng.integers(0, 256, (40, 30, 20, 3), dtype=np.uint8))
    path = export_openvino(model, "net", tmp_path, precision="int8", calibration=iter(images))
    metadata = read_metadata(path)
    assert (metadata["precision"], metadata["calibration_images"]) == ("int8", 40)
    graph = openvino.Core().read_model(os.path.join(path, "model.xml"))
    kinds = [node.get_type_name() for node in graph.get_ops()]
    assert kinds.count("FakeQuantize") >= 7  # before each convolution, for one
    kernels = [node for node in graph.get_ops() if node.get_element_type() == openvino.Type.i8]
    assert len(kernels) >= 8
    images, probabilities = own_size(model, rng, 20)
    np.testing.assert_allclose(Predictor(path).probabilities(images), probabilities, atol=0.05)
    assert metadata["difference"]["probabilities"] < 0.05
    again = export_openvino(model, "net", tmp_path, precision="int8", calibration=images[:2])
    assert again == str(tmp_path / "net" / "2")


@pytest.mark.parametrize(
    "arguments, words",
    [
        ({"precision": "int4"}, "`precision` must be one of"),
        ({"precision": "int8"}, "`calibration` must be training images for int8"),
        ({"calibration": [np.zeros((9, 9, 3))]}, "for other precisions.*calibration of list"),
        ({"precision": "int8", "calibration": []}, "`calibration` must be one image or more"),
    ],
)
def test_bad_arguments(arguments, words, tmp_path):
    pytest.importorskip("openvino", reason="an extra")
    with pytest.raises(UserError, match=words) as caught:
        export_openvino(small_network(), "net", tmp_path, **arguments)
    assert "\n" not in str(caught.value)
    assert os.listdir(tmp_path) == []


def test_formats_do_not_mix_under_one_name(write, tmp_path):
    model = small_network()
    first = write(model, "net", tmp_path)
    with pytest.raises(UserError, match="net holds exports of format o.*, which its server"):
        export(model, "net", tmp_path)
    export(model, "other", tmp_path)
    with pytest.raises(UserError, match="other holds exports of format saved_model"):
        write(model, "other", tmp_path)
    assert write(model, "net", tmp_path) == first[:-1] + "2"


@pytest.mark.parametrize("damage", ["truncate", "metadata", "nothing said", "later version"])
def test_a_damaged_export(write, damage, tmp_path):
    path = write(small_network(), "net", tmp_path)
    file = "model.xml" if os.path.exists(os.path.join(path, "model.xml")) else "model.onnx"
    words = "Cannot load .*/net/1/model.*, so export the model again: "
    if damage == "truncate":
        with open(os.path.join(path, file), "rb+") as opened:
            opened.truncate(1000)
    elif damage == "metadata":
        os.remove(os.path.join(path, METADATA))
        words = r"metadata\.json does not say how images are prepared for model\."
    elif damage == "nothing said":
        with open(os.path.join(path, METADATA), "w") as opened:
            json.dump([], opened)
        words = r"metadata\.json does not say how images are prepared for model\."
    elif damage == "later version":
        metadata = read_metadata(path)
        metadata["preprocessing"]["gamma"] = 2.2
        with open(os.path.join(path, METADATA), "w") as opened:
            json.dump(metadata, opened)
        words = r"metadata\.json has a preprocessing that this version cannot read: .*gamma"
    with pytest.raises(UserError, match=words) as caught:
        Predictor(path)
    assert "\n" not in str(caught.value)


def test_threads_ask_one_predictor_at_once(write, rng, tmp_path):
    model = small_network()
    predictor = Predictor(write(model, "net", tmp_path))
    batches = [own_size(model, rng, count=1 + place % 5) for place in range(40)]

    def ask(place):
        images, expected = batches[place]
        np.testing.assert_allclose(predictor.probabilities(images), expected, atol=1e-5)
        return len(images)

    with ThreadPoolExecutor(8) as threads:
        assert sum(threads.map(ask, range(40))) == sum(len(images) for images, _ in batches)


def test_old_versions_go_only_when_asked(write, tmp_path):
    model = small_network()
    for keep, left in ((None, ["1"]), (None, ["1", "2"]), (2, ["2", "3"]), (1, ["4"])):
        write(model, "net", tmp_path, keep=keep)
        assert sorted(os.listdir(tmp_path / "net")) == left
    with pytest.raises(UserError, match="`keep` must be None or a positive integer. .*keep=0"):
        write(model, "net", tmp_path, keep=0)
    assert os.listdir(tmp_path / "net") == ["4"]
