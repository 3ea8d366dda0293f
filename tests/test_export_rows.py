"""Rows of a batch that do not know of each other: bad images, features, no image at all."""

import io

import numpy as np
import pytest
import tensorflow as tf
from PIL import Image
from test_export import NAMES, encode, expected, pictures, serve, small_network

from keras_resnets.serving import export


@pytest.fixture(scope="module")
def network():
    return small_network()


@pytest.fixture(scope="module")
def saved(network, tmp_path_factory):
    return tf.saved_model.load(
        export(network, "net", tmp_path_factory.mktemp("saved_models"), max_pixels=2000)
    )


def broken(data):
    """Files that are no image, by what is wrong with them."""
    many = io.BytesIO()
    Image.fromarray(np.zeros((41, 50, 3), np.uint8)).save(many, "PNG")
    return {
        "text": b"not an image",
        "nothing": b"",
        "half": data[: len(data) // 2],
        "too many pixels": many.getvalue(),
        "a header alone": data[:30],
    }


def test_bad_images_do_not_fail_the_others(network, saved, rng):
    images = [image for image in pictures(rng) if image.size <= 6000]
    files = [encode(image, "PNG") for image in images]
    bad = list(broken(files[0]).values())
    mixed = [bad[0], files[0], bad[1], bad[2], *files[1:], *bad[3:]]
    is_right = np.array([data in files for data in mixed])
    answer = saved.signatures["serving_default"](image_bytes=tf.constant(mixed))
    np.testing.assert_array_equal(answer["valid"], is_right)
    probabilities = answer["probabilities"].numpy()
    np.testing.assert_allclose(probabilities[is_right], expected(network, images), atol=1e-5)
    assert np.isnan(probabilities[~is_right]).all()
    assert np.isnan(answer["scores"].numpy()[~is_right]).all()
    assert set(answer["classes"].numpy()[~is_right].ravel()) == {b""}
    assert set(answer["classes"].numpy()[is_right].ravel()) <= {name.encode() for name in NAMES}


@pytest.mark.parametrize("name", ["serving_default", "features"])
def test_a_batch_of_bad_images_alone_and_one_of_none(name, saved, rng):
    signature = saved.signatures[name]
    bad = list(broken(encode(pictures(rng)[0], "JPEG")).values())
    for files in (bad, bad[:1], []):
        answer = signature(image_bytes=tf.constant(files, tf.string))
        assert answer["valid"].numpy().tolist() == [False] * len(files)
        for key, values in answer.items():
            assert values.shape[0] == len(files), key
            if values.dtype.is_floating:
                assert np.isnan(values).all(), key


def test_no_pixels_give_no_answers(saved):
    answer = saved.signatures["predict_images"](image=tf.zeros((0, 20, 24, 3), tf.uint8))
    assert {key: values.shape[0] for key, values in answer.items()} == dict.fromkeys(answer, 0)


def test_features_are_what_the_classifier_reads(network, saved, rng):
    image = pictures(rng)[0]
    answer = saved.signatures["features"](image_bytes=tf.constant([encode(image, "PNG"), b"?"]))
    assert answer["valid"].numpy().tolist() == [True, False]
    assert np.isnan(answer["features"][1]).all()
    kernel, bias = network.get_layer("logits").get_weights()
    probabilities = tf.nn.softmax(answer["features"][:1] @ kernel + bias)
    np.testing.assert_allclose(probabilities, expected(network, [image]), atol=1e-5)


def test_bfloat16_answers_in_float32_and_takes_half_the_disk(network, rng, tmp_path):
    sizes = {}
    image = pictures(rng)[:1]
    for precision in ("float32", "bfloat16"):
        path = export(network, precision, tmp_path, precision=precision)
        answer = serve(path)(image_bytes=tf.constant([encode(image[0], "PNG")]))
        assert answer["probabilities"].dtype == tf.float32
        np.testing.assert_allclose(answer["probabilities"], expected(network, image), atol=0.05)
        np.testing.assert_allclose(tf.reduce_sum(answer["probabilities"]), 1.0, rtol=1e-6)
        graph = tf.saved_model.load(path).signatures["serving_default"].graph.as_graph_def()
        kernels = [
            node.attr["value"].tensor
            for function in graph.library.function
            for node in function.node_def
            if node.op == "Const" and len(node.attr["value"].tensor.tensor_shape.dim) == 4
        ]
        assert {kernel.dtype for kernel in kernels} == {tf.as_dtype(precision).as_datatype_enum}
        sizes[precision] = sum(len(kernel.tensor_content) for kernel in kernels)
    assert sizes["bfloat16"] * 2 == sizes["float32"]
    with pytest.raises(ValueError, match="precision"):
        export(network, "net", tmp_path, precision="float16")
