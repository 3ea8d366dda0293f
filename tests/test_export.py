"""Exports: equal to the float32 network, in a process that knows TensorFlow only."""

import io
import json
import os
import pathlib
import sys

import keras
import numpy as np
import processes
import pytest
import tensorflow as tf
from PIL import Image
from slow import first

import keras_resnets
from keras_resnets import Preprocessing
from keras_resnets.models.policies import dtype_policy
from keras_resnets.serving import export
from keras_resnets.serving.formats import read_metadata

NAMES = ("ant", "bée", "cat", "dog", "emu", "fox")


def encode(array, form, mode=None):
    image = Image.fromarray(array.squeeze())
    image = image.quantize(16) if mode == "P" else image.convert(mode or image.mode)
    file = io.BytesIO()
    image.save(file, form)
    return file.getvalue()


def small_network(policy="float32", channels=3, side=16, **options):
    """A network with statistics of its own, as after training, and distinct probabilities."""
    with dtype_policy(policy):
        model = keras_resnets.create_model(
            "resnet_cifar",
            depth=8,
            num_classes=len(NAMES),
            input_shape=(side, side, channels),
            **options,
        )
    rng = np.random.default_rng(1)
    for layer in model.layers:
        if isinstance(layer, keras.layers.BatchNormalization):
            layer.set_weights(
                [weight + rng.uniform(0, 0.5, weight.shape) for weight in layer.get_weights()]
            )
    model.preprocessing = Preprocessing(
        (0.5,) * channels, (0.25,) * channels, resize=20, crop=(16, 16)
    )
    if options.get("include_top", True):
        model.class_names = NAMES
    return model


def pictures(rng, channels=3):
    sizes = ((20, 20), (31, 17), (16, 40), (9, 12), (64, 50))
    return [rng.integers(0, 256, (*size, channels), dtype=np.uint8) for size in sizes]


def expected(model, images):
    """The float32 network's own probabilities, image by image."""
    logits = [model(model.preprocessing(image)[None], training=False) for image in images]
    return tf.nn.softmax(tf.concat(logits, axis=0)).numpy()


def serve(path, name="serving_default"):
    return tf.saved_model.load(path).signatures[name]


TENSORFLOW_ONLY = """
import sys
import numpy as np
import tensorflow as tf

sys.modules["keras_resnets"] = sys.modules["keras"] = None  # an import of them would fail
path, data = {path!r}, np.load({data!r}, allow_pickle=True)
signatures = tf.saved_model.load(path).signatures
for count in (1, 5):
    answer = signatures["serving_default"](image_bytes=tf.constant(list(data["files"][:count])))
    np.testing.assert_allclose(answer["probabilities"], data["expected"][:count], atol=1e-5)
for image, probabilities in zip(data["images"], data["expected"]):
    answer = signatures["predict_images"](image=tf.constant(image[None]))
    np.testing.assert_allclose(answer["probabilities"][0], probabilities, atol=1e-5)
print("same")
"""


@pytest.mark.parametrize("policy", first(1, ["mixed_bfloat16", "float32"]))
def test_export_equals_the_float32_network_with_tensorflow_only(
    policy, rng, run_python, tmp_path
):
    model = small_network(policy)
    path = export(model, "net", tmp_path / "saved_models")
    assert path == str(tmp_path / "saved_models" / "net" / "1")
    twin = small_network()
    twin.set_weights(model.get_weights())
    images = pictures(rng)
    packed = np.empty(len(images), object)
    packed[:] = images
    data = str(tmp_path / "data.npz")
    files = np.array([encode(image, "PNG") for image in images], object)
    np.savez(data, images=packed, files=files, expected=expected(twin, images))
    code = TENSORFLOW_ONLY.format(path=path, data=data)
    assert "same" in run_python(code).stdout
    assert keras.config.dtype_policy().name == "float32"


def test_signatures_have_the_names_they_will_keep(tmp_path):
    path = export(small_network(), "net", tmp_path, top=3)
    inputs = {
        "serving_default": tf.TensorSpec([None], tf.string, "image_bytes"),
        "predict_images": tf.TensorSpec([None, None, None, 3], tf.uint8, "image"),
    }
    inputs["features"] = inputs["serving_default"]
    best = {
        "probabilities": ([None, 6], tf.float32),
        "classes": ([None, 3], tf.string),
        "scores": ([None, 3], tf.float32),
    }
    valid = {"valid": ([None], tf.bool)}
    outputs = {
        "serving_default": best | valid,
        "predict_images": best,
        "features": {"features": ([None, 64], tf.float32)} | valid,
    }
    signatures = tf.saved_model.load(path).signatures
    assert set(signatures) == set(inputs)
    for name, spec in inputs.items():
        signature = signatures[name]
        assert signature.structured_input_signature == ((), {spec.name: spec})
        made = signature.structured_outputs
        assert {
            key: (value.shape.as_list(), value.dtype) for key, value in made.items()
        } == outputs[name]


def test_best_classes_and_scores(rng, tmp_path):
    model = small_network()
    images = rng.integers(0, 256, (5, 20, 24, 3), dtype=np.uint8)
    path = export(model, "net", tmp_path, top=9)
    assert read_metadata(path)["top"] == len(NAMES)
    answer = serve(path, "predict_images")(tf.constant(images))
    probabilities = expected(model, images)
    np.testing.assert_allclose(answer["probabilities"], probabilities, atol=1e-5)
    order = np.argsort(-answer["probabilities"].numpy(), axis=1)
    np.testing.assert_array_equal(
        answer["scores"], np.take_along_axis(answer["probabilities"].numpy(), order, axis=1)
    )
    names = [[name.decode() for name in row] for row in answer["classes"].numpy()]
    assert names == np.array(NAMES)[order].tolist()


@pytest.mark.parametrize("channels", [1, 3])
def test_every_kind_of_file(channels, rng, tmp_path):
    model = small_network(channels=channels)
    kinds = [("PNG", "L"), ("PNG", "P"), ("PNG", "RGBA"), ("GIF", "P"), ("BMP", "RGB")]
    kinds += [("BMP", "L"), ("BMP", "P"), ("JPEG", "RGB"), ("JPEG", "L")]
    array = rng.integers(0, 256, (25, 30, 3), dtype=np.uint8)
    files = [encode(array, form, mode) for form, mode in kinds]
    decoded = []
    for data, (_, mode) in zip(files, kinds, strict=True):
        image = np.asarray(Image.open(io.BytesIO(data)).convert("RGB"))
        if channels == 1:
            image = tf.image.rgb_to_grayscale(image).numpy()
            if mode == "L":
                np.testing.assert_array_equal(image[..., 0], Image.open(io.BytesIO(data)))
        decoded.append(image)
    answer = serve(export(model, "net", tmp_path))(image_bytes=tf.constant(files))
    np.testing.assert_allclose(answer["probabilities"], expected(model, decoded), atol=1e-5)


def test_a_softmax_is_not_applied_twice(rng, tmp_path):
    model = small_network(classifier_activation="softmax")
    images = rng.integers(0, 256, (2, 20, 20, 3), dtype=np.uint8)
    answer = serve(export(model, "net", tmp_path), "predict_images")(tf.constant(images))
    outputs = model(model.preprocessing(images), training=False)
    np.testing.assert_allclose(answer["probabilities"], outputs, atol=1e-5)


def test_images_are_brought_to_the_networks_size(rng, tmp_path):
    model = small_network()
    model.preprocessing = Preprocessing((0.5,) * 3, (0.25,) * 3)
    image = rng.integers(0, 256, (1, 16, 16, 3), dtype=np.uint8)
    predict = serve(export(model, "net", tmp_path), "predict_images")
    np.testing.assert_allclose(
        predict(tf.constant(image))["probabilities"], expected(model, image), atol=1e-5
    )
    larger = np.repeat(np.repeat(image, 2, axis=1), 2, axis=2)
    resized = tf.image.resize(larger, (16, 16), antialias=True)
    np.testing.assert_allclose(
        predict(tf.constant(larger))["probabilities"], expected(model, resized), atol=1e-5
    )


def plain_model():
    image = keras.Input((8, 8, 3))
    x = keras.layers.Flatten()(image)
    return keras.Model(image, keras.layers.Dense(2)(x))


def test_a_plain_model_is_used_as_it_is(rng, tmp_path):
    model = plain_model()
    model.preprocessing = Preprocessing((0.5,) * 3, (0.25,) * 3, resize=(8, 8))
    images = rng.integers(0, 256, (2, 9, 10, 3), dtype=np.uint8)
    answer = serve(export(model, "net", tmp_path), "predict_images")(tf.constant(images))
    np.testing.assert_allclose(answer["probabilities"], expected(model, images), atol=1e-5)
    assert set(answer["classes"].numpy().ravel()) == {b"0", b"1"}


def without_preprocessing():
    return plain_model()


def without_top():
    return small_network(include_top=False, pooling="avg")


def with_tanh():
    return small_network(classifier_activation="tanh")


def of_any_size():
    model = small_network(side=None)
    model.preprocessing = Preprocessing((0.5,) * 3, (0.25,) * 3, resize=20)
    return model


def of_another_size():
    model = small_network(side=16)
    model.preprocessing = Preprocessing((0.5,) * 3, (0.25,) * 3, crop=(20, 20))
    return model


def of_other_channels():
    model = small_network(channels=3)
    model.preprocessing = Preprocessing((0.5,), (0.25,), crop=(16, 16))
    return model


def mixed_within_float32():
    image = keras.Input((8, 8, 3))
    stem = keras.layers.Conv2D(4, 3, dtype="mixed_bfloat16", name="stem")
    maps = keras.Sequential([keras.Input((8, 8, 3)), stem])(image)
    x = keras.layers.GlobalAveragePooling2D(dtype="float32")(maps)
    model = keras.Model(image, keras.layers.Dense(2, dtype="float32")(x))
    model.preprocessing = Preprocessing((0.5,) * 3, (0.25,) * 3)
    return model


def plain_and_mixed():
    with dtype_policy("mixed_bfloat16"):
        model = plain_model()
    model.preprocessing = Preprocessing((0.5,) * 3, (0.25,) * 3)
    return model


@pytest.mark.parametrize(
    "make, message",
    [
        (without_preprocessing, "no preprocessing"),
        (without_top, "include_top=False"),
        (with_tanh, "Received: tanh"),
        (of_any_size, "any size"),
        (of_another_size, r"\(16, 16\) pixels, its preprocessing makes \(20, 20\)"),
        (of_other_channels, "3 channels, its preprocessing gives 1"),
        (plain_and_mixed, "mixed_bfloat16"),
        (mixed_within_float32, "whose layer stem has the dtype policy mixed_bfloat16"),
    ],
)
def test_what_cannot_be_exported(make, message, tmp_path):
    with pytest.raises(ValueError, match=message) as caught:
        export(make(), "net", tmp_path)
    assert "\n" not in str(caught.value)
    assert os.listdir(tmp_path) == []


@pytest.mark.parametrize("arguments", [
    {"name": "a/b"}, {"name": ".."}, {"name": 3},
    {"name": "n", "images": [np.zeros((8, 8, 3), "float32")]},
    *({"name": "n", "top": top} for top in (0, 2.0, "3")),
])
def test_bad_arguments(arguments, tmp_path):
    with pytest.raises(ValueError, match="must be"):
        export(small_network(), root=tmp_path, **arguments)


def test_a_broken_network_is_not_exported(tmp_path):
    model = small_network()
    model.layers[-1].bias.assign([np.nan] * len(NAMES))
    with pytest.raises(FloatingPointError, match="not finite"):
        export(model, "net", tmp_path)
    assert os.listdir(tmp_path) == []


def test_metadata_tells_people(tmp_path):
    model = small_network()
    path = export(model, "net", tmp_path)
    with open(os.path.join(path, "assets.extra", "metadata.json"), encoding="utf-8") as file:
        metadata = json.load(file)
    assert metadata["model"] == "resnet_cifar"
    assert metadata["class_names"] == list(NAMES)
    assert Preprocessing(**metadata["preprocessing"]) == model.preprocessing
    assert (metadata["format"], metadata["probabilities"]) == ("saved_model", "softmax")
    assert metadata["difference"]["images"] == 64
    assert metadata["difference"]["probabilities"] < 1e-5
    assert os.stat(path).st_mode & 0o777 == 0o777 & ~_umask()  # a server runs as another user


def _umask():
    mask = os.umask(0)
    os.umask(mask)
    return mask


def test_script(tmp_path):
    model = small_network("mixed_bfloat16")
    (tmp_path / "runs" / "net").mkdir(parents=True)
    model.save(tmp_path / "runs" / "net" / "best.keras")
    script = pathlib.Path(__file__).parents[1] / "scripts" / "export.py"
    command = [sys.executable, str(script), "--run_dir=runs/net/", "--top=2"]
    done = processes.run(command, cwd=tmp_path, timeout=300)
    assert done.returncode == 0, done.stderr
    path = os.path.join("saved_models", "net", "1")
    *_, exported, difference = done.stdout.splitlines()
    assert exported.endswith(path)
    assert difference.startswith("largest difference of a probability from the model ")
    assert difference.endswith(", same class 100.00%, over 64 images of two photos")
    signature = serve(tmp_path / path)
    assert signature.structured_outputs["classes"].shape[-1] == 2
