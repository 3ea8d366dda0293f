"""scripts/analyze.py in real processes: what each experiment writes, and mistakes in one line."""

import sys
from pathlib import Path

import processes
import pytest

import keras_resnets

SCRIPT = Path(__file__).parents[1] / "scripts" / "analyze.py"


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    """A folder with two untrained nets for the digits and the logs of two runs."""
    path = tmp_path_factory.mktemp("analyze")
    for name, options in (
        ("net", {"activation": "full_preact"}),
        ("sd", {"survival": 0.5}),
    ):
        network = keras_resnets.resnet_cifar(depth=8, width=8, input_shape=(8, 8, 1), **options)
        network.preprocessing = keras_resnets.Preprocessing((0.5,), (0.25,))
        network.save(path / f"{name}.keras")
    for run in ("plain20", "plain56"):
        (path / run).mkdir()
        (path / run / "log.csv").write_text("epoch,accuracy,val_accuracy\n1,0.5,0.4\n2,0.75,0.6\n")
        lines = [f"{epoch},layer{n},{0.1**n},{n}" for epoch in range(7) for n in range(3)]
        text = "\n".join(["epoch,layer,rms,norm", *lines, ""])
        (path / run / "gradients.csv").write_text(text)
    return path


def run(folder, *arguments, script=SCRIPT):
    command = [sys.executable, script, *arguments]
    return processes.run(command, cwd=folder, timeout=300)


NET = "--model=net.keras"
SLOW = pytest.mark.slow


@pytest.mark.parametrize(
    ("experiment", "arguments", "files"),
    [
        ("gradients", [NET], ["gradients.csv", "gradients_five_layers.png"]),
        ("degradation", ["--runs=plain20,plain56"], ["degradation.csv", "degradation.png"]),
        ("gradients", ["--runs=plain20,plain56"], ["gradients_in_training.png"]),
        ("lesions", [NET, "--trials=2"], ["lesions_single.csv", "lesions_random.png"]),
        ("paths", [NET, "--samples=2"], ["paths.csv", "paths.png"]),
        ("cost", [NET], ["cost_resnet_cifar.csv", "cost.png"]),
        ("gradcam", [NET], ["gradcam.png"]),
        pytest.param("sums", [NET], ["lambdas.png"], marks=SLOW),
        pytest.param("depth", ["--model=sd.keras"], ["first_gradients.png"], marks=SLOW),
    ],
)
def test_every_experiment_writes_its_files(folder, experiment, arguments, files):
    images = [] if experiment in ("degradation", "cost") else ["--dataset=digits", "--images=40"]
    done = run(folder, experiment, *arguments, *images, "--output_dir=out")
    assert done.returncode == 0, done.stderr
    for name in files:
        assert (folder / "out" / name).stat().st_size > 50
        assert f"out/{name}" in done.stdout


def test_degradation_is_read_from_the_logs(folder):
    run(folder, "degradation", "--runs=plain20,plain56", "--output_dir=read")
    lines = (folder / "read" / "degradation.csv").read_text().splitlines()
    assert lines[0] == "run,epoch,training_error,validation_error"
    assert lines[1:3] == ["plain20,1,0.5,0.6", "plain20,2,0.25,0.4"]
    assert len(lines) == 5


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        ([], "one of gradients, degradation, sums"),
        (["lesion"], "Received: lesion"),
        (["lesions"], "one of --model, --run_dir and --weights"),
        (["lesions", "--model=net.keras"], "--dataset must name the images"),
        (["lesions", "--model=net.keras", "--dataset=digits"], "--output_dir must name a folder"),
        (["degradation", "--output_dir=x"], "--runs must name the folders"),
        (["degradation", "--runs=none", "--output_dir=x"], "must be a run with a finished epoch"),
        (["gradients", "--runs=none", "--output_dir=x"], "train with --log_gradients=1"),
        (["cost", "--output_dir=x"], "--runs must name one folder of runs"),
    ],
)
def test_mistakes_are_one_line(folder, arguments, words):
    done = run(folder, *arguments)
    assert done.returncode == 1
    assert words in done.stderr
    assert len(done.stderr.strip().splitlines()) == 1, done.stderr


@pytest.mark.slow
def test_a_sweep_is_one_command(folder):
    """Started twice: the second finds all runs finished and writes the same table."""
    script = SCRIPT.with_name("sweep.py")
    flags = [
        "--model=resnet_cifar", "--option=depth=8", "--option=width=4", "--dataset=digits",
        "--train_split=train[:64]", "--validation_split=train[64:96]", "--test_split=test[:32]",
        "--batch_size=32", "--epochs=1", "--run_dir=sweep", "--survivals=0.5,1",
    ]  # fmt: skip
    tables = []
    for told in ("depth8_uniform_survival0.5: 3 of 4", "is finished after 1 epochs"):
        done = run(folder, *flags, script=script)
        assert done.returncode == 0, done.stderr
        assert told in done.stdout and "sweep/sweep.png" in done.stdout
        tables.append((folder / "sweep" / "sweep.csv").read_text())
    assert tables[0] == tables[1] and len(tables[0].splitlines()) == 5
    assert (folder / "sweep" / "sweep.png").stat().st_size > 1000
    done = run(folder, *flags, "--survivals=half", script=script)
    assert done.returncode == 1
    assert done.stderr == "error: `survivals` must be numbers with commas between. Received: half\n"
