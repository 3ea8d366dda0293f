"""export.py, evaluate.py and predict.py with OpenVINO, ONNX and SavedModels."""

import csv
import io
import json
import os
import pathlib
import sys
import time

import numpy as np
import processes
import pytest
import tensorflow as tf
from slow import first
from test_prediction import COLOURS, colour_model, encode

import keras_resnets
from keras_resnets import Preprocessing, UserError, data
from keras_resnets.serving import Predictor, export, export_onnx, export_openvino
from keras_resnets.serving.evaluation import evaluate_export
from keras_resnets.serving.formats import read_metadata
from keras_resnets.training import Recipe, reports
from keras_resnets.training.evaluation import evaluate

SCRIPTS = pathlib.Path(__file__).parents[1] / "scripts"
WRITERS = {"saved_model": export, "openvino": export_openvino, "onnx": export_onnx}
RUNTIMES = {"openvino": "openvino", "onnx": "onnxruntime"}


def run(script, *arguments, folder, stdin=b""):
    done = processes.run(
        [sys.executable, str(SCRIPTS / script), *map(str, arguments)],
        cwd=folder, input=stdin, text=False, timeout=300,
    )
    return done.returncode, done.stdout.decode(), done.stderr.decode()


@pytest.fixture(params=first(1, [*WRITERS]))
def write(request):
    if request.param in RUNTIMES:
        pytest.importorskip(RUNTIMES[request.param], reason="an extra")
    return WRITERS[request.param]


def digits_model(**options):
    model = keras_resnets.create_model(
        "resnet_cifar", depth=8, num_classes=10, input_shape=(8, 8, 1), **options
    )
    model.preprocessing = Preprocessing((0.3,), (0.4,))
    model.class_names = tuple(map(str, range(10)))
    return model


@pytest.mark.parametrize("activation", [None, "sigmoid"])
def test_an_export_is_worth_what_its_model_is(write, activation, tmp_path):
    model = digits_model(classifier_activation=activation)
    test = data.load_splits("digits", test_split="train[:50]").test
    truth, shown = evaluate(model, test), []
    predictor = Predictor(write(model, "net", tmp_path))
    result, rate = evaluate_export(predictor, test, batch_size=16, show=shown.append)
    assert shown == [16, 32, 48, 50] and rate > 0
    assert result.loss == pytest.approx(truth.loss, abs=1e-5)
    np.testing.assert_allclose(result.probabilities, truth.probabilities, atol=1e-5)
    np.testing.assert_array_equal(result.confusion, truth.confusion)


def test_images_of_several_sizes(write, rng, tmp_path):
    sizes = ((9, 12), (30, 20), (8, 8))
    files = []
    for index, size in enumerate(sizes):
        pixels = rng.integers(0, 256, (*size, 3), dtype=np.uint8)
        files.append(tmp_path / f"{index}.png")
        files[-1].write_bytes(tf.io.encode_png(pixels).numpy())
    source = data.from_files(list(map(str, files)), [0, 1, 2], tuple(COLOURS))
    predictor = Predictor(write(colour_model(), "net", tmp_path / "served"))
    result, _ = evaluate_export(predictor, source, batch_size=2)
    truth = evaluate(colour_model(), source)
    np.testing.assert_allclose(result.probabilities, truth.probabilities, atol=0.01)
    assert len(result.labels) == 3


def test_what_an_export_cannot_be_evaluated_on(tmp_path):
    predictor = Predictor(export(colour_model(), "net", tmp_path))
    with pytest.raises(UserError, match="The model has 3 classes, digits has 10"):
        evaluate_export(predictor, data.load_splits("digits", splits=("test",)).test)


@pytest.fixture
def digits_run(tmp_path):
    folder = tmp_path / "runs" / "net"
    folder.mkdir(parents=True)
    recipe = Recipe(model="resnet20", dataset="digits", test_split="train[:50]")
    (folder / "recipe.json").write_text(recipe.to_json())
    digits_model().save(folder / "best.keras")
    return folder


def test_from_a_run_to_int8_and_its_accuracy(digits_run, tmp_path):
    pytest.importorskip("nncf", reason="an extra")
    code, output, errors = run(
        "export.py", "--run_dir=runs/net", "--format=openvino", "--precision=int8",
        "--calibration_images=30", folder=tmp_path,
    )
    assert code == 0, errors
    version = os.path.join("saved_models", "net_openvino_int8", "1")
    assert output.splitlines()[0].endswith(f"to {version}")
    assert "quantized by 30 images of digits\n" in output
    metadata = read_metadata(tmp_path / version)
    assert metadata["calibration_images"] == 30 and metadata["difference"]["images"] == 50
    assert f"model {metadata['difference']['probabilities']:.2g}, same class" in output
    code, output, errors = run(
        "evaluate.py", "--saved_model=saved_models/net_openvino_int8", "--run_dir=runs/net",
        folder=tmp_path,
    )
    assert code == 0, errors
    folder = tmp_path / "saved_models_evaluation" / "net_openvino_int8" / "1"
    assert {path.name for path in folder.iterdir()} == set(reports.FILES)
    report = json.loads((folder / "evaluation.json").read_text(), parse_constant=pytest.fail)
    assert report["images_per_second"] > 0
    assert report["num_examples"] == 50 and report["precision"] == "int8"
    assert f"top-1  {report['top1']:.2%}\n" in output
    assert "images/s by openvino, int8\n" in output
    truth = evaluate(digits_model(), data.load_splits("digits", test_split="train[:50]").test)
    assert report["loss"] == pytest.approx(truth.loss, abs=0.5)


def test_a_file_alone_is_checked_on_photos(digits_run, tmp_path):
    pytest.importorskip("tf2onnx", reason="an extra")
    code, output, errors = run(
        "export.py", f"--model={digits_run}/best.keras", "--format=onnx", folder=tmp_path
    )
    assert code == 0, errors
    assert output.splitlines()[0].endswith(os.path.join("saved_models", "best_onnx", "1"))
    assert output.endswith("over 64 images of two photos\n")


def slow(*case):
    return pytest.param(*case, marks=pytest.mark.slow)


@pytest.mark.parametrize(
    "script, arguments, words",
    [
        ("export.py", "--format=onnx --precision=int8",
         "`--precision` must be float32 with --format=onnx. Received: --precision=int8"),
        slow("export.py", "--precision=int8", "`--precision` must be "),
        ("export.py", "--format=openvino --precision=int8",
         "--precision=int8 is quantized by training images: give --run_dir, or --dataset"),
        slow("export.py", "--format=openvino --calibration_images=8",
         "--calibration_images is for --format=openvino --precision=int8."),
        slow("export.py", "--format=openvino --top=3", "--top is for --format=saved_model."),
        slow("export.py", "--dataset=digits", "--dataset is for --format=openvino or onnx."),
        slow("export.py", "--format=onnx --data_dir=x", "--data_dir is for a --dataset, or that"),
        ("export.py", "--checkpoint=last", "--checkpoint is for --run_dir, --model is one file"),
        ("evaluate.py", "--checkpoint=best", "--checkpoint is for --run_dir, --model is one file"),
        slow("evaluate.py", "--saved_model=y", "--model and --saved_model are two models"),
        slow("evaluate.py", "--saved_model=y --model= --flip", "--flip is for --run_dir and"),
        ("evaluate.py", "--model=", "Evaluate what? Give --run_dir, --model or --saved_model"),
    ],
)
def test_flags_that_do_not_go_together(script, arguments, words, tmp_path):
    code, output, errors = run(script, "--model=x.keras", *arguments.split(), folder=tmp_path)
    assert (code, output) == (1, "")
    assert errors.startswith(f"error: {words}") and errors.count("\n") == 1


def photos(folder, count):
    folder.mkdir()
    for index in range(count):
        colour = list(COLOURS)[index % 3]
        (folder / f"{index}.png").write_bytes(encode(colour))
    return [str(folder / f"{index}.png") for index in range(count)]


def test_predict_takes_a_list_on_stdin_and_writes_csv(write, tmp_path):
    write(colour_model(), "net", tmp_path)
    files = photos(tmp_path / "photos", 4)
    odd = tmp_path / os.fsdecode(b'comma, "quote" \xe9.png')
    odd.write_bytes(encode("blue"))
    listed = b"\xef\xbb\xbf%s\n%s\r\n\r\n" % (os.fsencode(files[1]), os.fsencode(odd))
    code, output, errors = run(
        "predict.py", f"--saved_model={tmp_path / 'net'}", "--format=csv", "--top=2", files[0],
        "-", folder=tmp_path, stdin=listed,
    )
    assert code == 0, errors
    header, *rows = csv.reader(io.StringIO(output))
    assert header == ["file", "class_1", "score_1", "class_2", "score_2"]
    named = str(tmp_path / 'comma, "quote" \\xe9.png')
    assert [row[:2] for row in rows] == [[files[0], "red"], [files[1], "green"], [named, "blue"]]
    means = (np.array(COLOURS["red"]) / 255 - 0.5) / 0.25
    score = (np.exp(means) / np.exp(means).sum()).max()
    assert float(rows[0][2]) == pytest.approx(score, abs=1e-5)


def test_an_empty_list(tmp_path):
    code, output, errors = run("predict.py", "--saved_model=x", "-", folder=tmp_path)
    assert (code, output) == (1, "")
    assert errors == (
        "error: `-` stands for a list of images on stdin, a name a line: it is empty\n"
    )


def test_json_lines_come_before_an_error(tmp_path):
    export(colour_model(), "net", tmp_path)
    files = photos(tmp_path / "photos", 3)
    pathlib.Path(files[2]).write_bytes(b"no image")
    code, output, errors = run(
        "predict.py", f"--saved_model={tmp_path / 'net'}", "--format=json", *files, folder=tmp_path
    )
    assert code == 1
    rows = [json.loads(line) for line in output.splitlines()]
    assert [row["classes"] for row in rows] == [["red"], ["green"]]
    assert errors.startswith(f"error: {files[2]} is not a whole") and errors.count("\n") == 1


def test_pixels_are_uint8_batches(write, tmp_path):
    predictor = Predictor(write(colour_model(), "net", tmp_path))
    pixels = np.full((2, 8, 8, 3), 100, np.uint8)
    assert predictor.probabilities(pixels).shape == (2, 3)
    floats = pixels / 255, pixels.astype("float32")
    for wrong in (*floats, pixels[0], pixels[..., :1], pixels[:, :0]):
        words = rf"must be uint8 pixels of shape \(batch, height, width, 3\). .*: {wrong.dtype} of"
        with pytest.raises(UserError, match=words) as caught:
            predictor.probabilities(wrong)
        assert "\n" not in str(caught.value)


def test_two_batches_at_most_are_in_memory(write, tmp_path):
    predictor = Predictor(write(colour_model(), "net", tmp_path), batch_size=4)
    asked = []

    def images():
        for index in range(40):
            asked.append(index)
            yield encode(list(COLOURS)[index % 3])

    for index, (labels, _) in enumerate(predictor.predict_iter(images())):
        assert labels[0] == list(COLOURS)[index % 3]
        assert len(asked) <= index // 4 * 4 + 8
    assert len(asked) == 40


def test_a_file_that_is_gone_is_told_in_its_turn(write, tmp_path):
    predictor = Predictor(write(colour_model(), "net", tmp_path), batch_size=2)
    files = photos(tmp_path / "photos", 4)
    os.remove(files[3])
    answers = predictor.predict_iter(files, skip_corrupt=True)
    assert [next(answers)[0][0] for _ in range(3)] == ["red", "green", "blue"]
    with pytest.raises(FileNotFoundError, match=r"3\.png"):
        next(answers)


def test_corrupt_images_in_every_format(write, tmp_path):
    predictor = Predictor(write(colour_model(), "net", tmp_path), batch_size=3)
    large = encode("red", size=(30, 20))
    images = [encode("red"), b"no image", encode("blue"), large, encode("green")[:40]]
    answers = predictor.predict(images, skip_corrupt=True)
    assert [answer and answer[0][0] for answer in answers] == ["red", None, "blue", "red", None]
    small = Predictor(predictor.path, max_pixels=599)
    assert [bool(answer) for answer in small.predict(images, True)] == [1, 0, 1, 0, 0]


def test_more_classes_than_there_are(write, tmp_path):
    path = write(colour_model(), "net", tmp_path)
    for top in (0, 4):
        with pytest.raises(UserError, match=rf"`top` must be in 1\.\.3 with .*Received: top={top}"):
            Predictor(path, top=top)
    ((labels, scores),) = Predictor(path, top=1).predict([encode("blue")])
    assert labels == ["blue"] and len(scores) == 1


class Terminal(io.StringIO):
    def isatty(self):
        return True


def test_a_bar_appears_after_a_while_and_goes(monkeypatch):
    """Before the first answer too."""
    monkeypatch.syspath_prepend(str(SCRIPTS))
    import progress

    def wait_for(text):
        end = time.monotonic() + 60
        while text not in stream.getvalue() and time.monotonic() < end:
            time.sleep(0.01)
        assert text in stream.getvalue()

    monkeypatch.setattr(progress, "PATIENCE", 0.5)
    stream = Terminal()
    with progress.Progress(100, stream) as bar:
        assert stream.getvalue() == ""
        wait_for(f"[{'':24}] 0/100 images")
        bar.show(50)
        wait_for(f"[{'=' * 12:24}] 50/100 images, ")
        assert " a second, 0:0" in stream.getvalue()
    assert stream.getvalue().endswith("\r\x1b[K")
    for quick, patience in ((Terminal(), 60), (io.StringIO(), 0.0)):
        monkeypatch.setattr(progress, "PATIENCE", patience)
        with progress.Progress(100, quick) as bar:
            bar.show(50)
        assert quick.getvalue() == ""
