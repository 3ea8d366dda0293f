"""Requests as TensorFlow Serving documents them, put to an export without a server."""

import base64
import collections
import io
import json
import os

import numpy as np
import pytest
import tensorflow as tf
from PIL import Image
from test_export import encode, small_network

from keras_resnets.serving import export, warmup

predict_pb2 = pytest.importorskip("tensorflow_serving.apis.predict_pb2")
prediction_log_pb2 = pytest.importorskip("tensorflow_serving.apis.prediction_log_pb2")


@pytest.fixture(scope="module")
def version(tmp_path_factory):
    return export(small_network(), "net", tmp_path_factory.mktemp("root"))


@pytest.fixture(scope="module")
def signatures(version):
    return tf.saved_model.load(version).signatures


def warmup_requests(version):
    path = os.path.join(version, "assets.extra", "tf_serving_warmup_requests")
    for record in tf.data.TFRecordDataset(path).as_numpy_iterator():
        yield prediction_log_pb2.PredictionLog.FromString(record).predict_log.request


def ask(signatures, request):
    """Answers a `PredictRequest` as a server does: by names, with types that must fit."""
    signature = signatures[request.model_spec.signature_name or "serving_default"]
    specs = signature.structured_input_signature[1]
    assert set(request.inputs) == set(specs)
    inputs = {name: tf.constant(tf.make_ndarray(proto)) for name, proto in request.inputs.items()}
    for name, spec in specs.items():
        assert request.inputs[name].dtype == spec.dtype.as_datatype_enum
        assert spec.is_compatible_with(inputs[name])
    outputs = signature(**inputs)
    response = predict_pb2.PredictResponse(model_spec=request.model_spec)
    for name, value in outputs.items():
        response.outputs[name].CopyFrom(tf.make_tensor_proto(value))
    return response


def test_warmup_requests_run(version, signatures):
    requests = list(warmup_requests(version))
    assert 0 < len(requests) <= 1000
    assert {request.model_spec.name for request in requests} == {"net"}
    seen = collections.defaultdict(list)
    for request in requests:
        outputs = ask(signatures, request).outputs
        (count,) = {proto.tensor_shape.dim[0].size for proto in outputs.values()}
        seen[request.model_spec.signature_name].append(count)
        if "valid" in outputs:
            assert all(tf.make_ndarray(outputs["valid"]))
        if "probabilities" in outputs:
            rows = tf.make_ndarray(outputs["probabilities"])
            np.testing.assert_allclose(rows.sum(axis=1), 1, atol=1e-5)
            assert len(np.unique(rows, axis=0)) == count  # images that differ
    assert seen == {name: [1, 2, 4, 8] for name in signatures}
    assert os.path.getsize(os.path.join(version, warmup.WARMUP)) < 300_000


def test_warmup_of_a_grey_network_and_other_sizes(tmp_path):
    version = export(small_network(channels=1), "grey", tmp_path, warmup_batch_sizes=[3])
    signatures = tf.saved_model.load(version).signatures
    requests = list(warmup_requests(version))
    assert len(requests) == len(signatures)
    for request in requests:
        assert ask(signatures, request).outputs


def test_warmup_can_be_left_out(tmp_path, monkeypatch):
    version = export(small_network(), "net", tmp_path, warmup_batch_sizes=())
    assert os.listdir(os.path.join(version, "assets.extra")) == ["metadata.json"]
    monkeypatch.setattr(warmup, "has_serving_api", lambda: False)
    version = export(small_network(), "net", tmp_path)
    assert os.listdir(os.path.join(version, "assets.extra")) == ["metadata.json"]
    with pytest.raises(ValueError, match=r"pip install 'keras_resnets\[serving\]'"):
        export(small_network(), "net", tmp_path, warmup_batch_sizes=(1,))


@pytest.mark.parametrize("sizes", [(0,), (1, "2"), (1.5,), 3, range(1, 502)])
def test_bad_batch_sizes(sizes, tmp_path):
    with pytest.raises(ValueError, match="warm") as caught:
        export(small_network(), "net", tmp_path, warmup_batch_sizes=sizes)
    assert "\n" not in str(caught.value)


def read_rest_body(body, specs):
    """Inputs by name from a body in row (`instances`) or column (`inputs`) format."""
    request = json.loads(body)
    if "instances" in request:
        rows = request["instances"]
        if len(specs) == 1 and not (isinstance(rows[0], dict) and set(rows[0]) == set(specs)):
            rows = [{name: row} for row in rows for name in specs]
        columns = {name: [row[name] for row in rows] for name in specs}
    else:
        columns = request["inputs"]
        if not (isinstance(columns, dict) and set(columns) == set(specs)):
            (name,) = specs
            columns = {name: columns}
    return request.get("signature_name", "serving_default"), {
        name: tf.constant(_plain(columns[name]), spec.dtype) for name, spec in specs.items()
    }


def _plain(value):
    if isinstance(value, list):
        return [_plain(one) for one in value]
    if isinstance(value, dict):
        assert set(value) == {"b64"}
        return base64.b64decode(value["b64"], validate=True)
    return value


@pytest.fixture
def picture(rng):
    return rng.integers(0, 256, (21, 17, 3), dtype=np.uint8)


def rest_bodies(picture):
    file = {"b64": base64.b64encode(encode(picture, "PNG")).decode()}
    pixels = {"signature_name": "predict_images"}
    yield {"instances": [{"image_bytes": file}, {"image_bytes": file}]}
    yield {"instances": [file, file]}
    yield {"inputs": {"image_bytes": [file, file]}}
    yield {"inputs": [file, file]}
    yield {**pixels, "instances": [{"image": picture.tolist()}] * 2}
    yield {**pixels, "instances": [picture.tolist()] * 2}
    yield {**pixels, "inputs": {"image": [picture.tolist()] * 2}}


def test_rest_bodies_fit_the_signatures(signatures, picture):
    (expected,) = signatures["predict_images"](tf.constant(picture[None]))["probabilities"]
    for body in rest_bodies(picture):
        name = body.get("signature_name", "serving_default")
        specs = signatures[name].structured_input_signature[1]
        told, inputs = read_rest_body(json.dumps(body), specs)
        assert told == name
        answer = signatures[name](**inputs)
        np.testing.assert_allclose(answer["probabilities"], [expected] * 2, atol=1e-6)


def test_grpc_requests_fit_the_signatures(signatures, picture):
    (expected,) = signatures["predict_images"](tf.constant(picture[None]))["probabilities"]
    of_files = predict_pb2.PredictRequest()
    of_files.model_spec.name = "net"
    of_files.inputs["image_bytes"].CopyFrom(tf.make_tensor_proto([encode(picture, "PNG")] * 2))
    of_pixels = predict_pb2.PredictRequest()
    of_pixels.model_spec.name = "net"
    of_pixels.model_spec.signature_name = "predict_images"
    of_pixels.inputs["image"].CopyFrom(tf.make_tensor_proto(np.stack([picture] * 2)))
    for request in (of_files, of_pixels):
        request = predict_pb2.PredictRequest.FromString(request.SerializeToString())
        outputs = ask(signatures, request).outputs
        probabilities = tf.make_ndarray(outputs["probabilities"])
        np.testing.assert_allclose(probabilities, [expected] * 2, atol=1e-6)


def test_a_small_jpeg_goes_the_same_way(signatures, picture):
    file = encode(picture, "JPEG")
    decoded = np.asarray(Image.open(io.BytesIO(file)).convert("RGB"))
    expected = signatures["predict_images"](tf.constant(decoded[None]))["probabilities"]
    answer = signatures["serving_default"](tf.constant([file]))["probabilities"]
    np.testing.assert_allclose(answer, expected, atol=1e-5)
