"""The requests in saved_models/README.md, put to what stands in for a server."""

import concurrent.futures
import json
import pathlib
import re

import numpy as np
import pytest
import tensorflow as tf
from test_export import encode, small_network

from keras_resnets.serving import export

grpc = pytest.importorskip("grpc")
service = pytest.importorskip("tensorflow_serving.apis.prediction_service_pb2_grpc")

README = (pathlib.Path(__file__).parents[1] / "saved_models" / "README.md").read_text()


def blocks(language):
    return re.findall(rf"^```{language}\n(.*?)^```", README, re.DOTALL | re.MULTILINE)


@pytest.fixture
def signatures(tmp_path, rng, monkeypatch):
    monkeypatch.chdir(tmp_path)
    image = rng.integers(0, 256, (30, 40, 3), dtype=np.uint8)
    (tmp_path / "photo.jpg").write_bytes(encode(image, "JPEG"))
    return tf.saved_model.load(export(small_network(), "quickstart")).signatures


@pytest.fixture
def port(signatures):
    """That of a gRPC server of the official service, which answers from the export."""
    from test_serving_requests import ask

    class Servicer(service.PredictionServiceServicer):
        def Predict(self, request, context):
            assert request.model_spec.name == "quickstart"
            return ask(signatures, request)

    server = grpc.server(concurrent.futures.ThreadPoolExecutor(2))
    service.add_PredictionServiceServicer_to_server(Servicer(), server)
    port = server.add_insecure_port("localhost:0")
    server.start()
    yield port
    server.stop(None).wait()


def test_the_code_in_python(signatures, capsys):
    (code,) = [code for code in blocks("python") if "saved_model.load" in code]
    exec(compile(code, "README.md", "exec"), {})
    assert capsys.readouterr().out.rstrip().endswith("tf.Tensor(True, shape=(), dtype=bool)")


def test_the_grpc_client(signatures, port):
    (code,) = [code for code in blocks("python") if "grpc" in code]
    found = {}
    exec(compile(code.replace("8500", str(port)), "README.md", "exec"), found)
    expected = signatures["serving_default"](tf.constant(found["files"]))
    np.testing.assert_allclose(found["scores"], expected["scores"], atol=1e-6)
    assert found["classes"].tolist() == expected["classes"].numpy().tolist()
    assert found["valid"].tolist() == [True]


def test_the_rest_answer_has_the_signatures_outputs(signatures):
    (answer,) = map(json.loads, blocks("json"))
    outputs = signatures["serving_default"].structured_outputs
    assert [set(row) for row in answer["predictions"]] == [set(outputs)] * 2
    first, second = answer["predictions"]
    assert abs(sum(first["probabilities"]) - 1) < 1e-6
    assert first["scores"] == sorted(first["probabilities"], reverse=True)[:3]
    assert (first["valid"], second["valid"]) == (True, False)
