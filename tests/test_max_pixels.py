"""The limit of pixels through the scripts: training, evaluation, export."""

import pathlib
import sys

import numpy as np
import processes
import pytest
import tensorflow as tf

ROOT = pathlib.Path(__file__).parents[1]
NET = ("--model=resnet_cifar", "--option=depth=8", "--option=width=4", "--image_size=16",
       "--batch_size=4", "--epochs=1", "--steps_per_epoch=1")


@pytest.fixture
def photos(tmp_path, rng):
    for name in "ab":
        (tmp_path / "photos" / name).mkdir(parents=True)
        for number in range(12):
            pixels = rng.integers(0, 256, (20, 20 + number % 2, 3), dtype=np.uint8)
            path = tmp_path / "photos" / name / f"{number}.png"
            path.write_bytes(tf.io.encode_png(pixels).numpy())
    return tmp_path


def script(name, *arguments, folder):
    return processes.run(
        [sys.executable, str(ROOT / "scripts" / name), *arguments],
        cwd=folder, timeout=600,
    )


@pytest.mark.slow
def test_every_script_has_the_limit(photos):
    large = photos / "photos" / "a" / "large.png"
    large.write_bytes(tf.io.encode_png(np.zeros((40, 50, 3), np.uint8)).numpy())
    train = ("--dataset=photos", "--run_dir=run", *NET)
    done = script("train.py", *train, "--max_pixels=1999", folder=photos)
    assert done.returncode == 1 and done.stderr.count("\n") == 1
    assert "large.png" in done.stderr and "2000 pixels" in done.stderr
    done = script("train.py", *train, "--max_pixels=1999", "--skip_corrupt", folder=photos)
    assert done.returncode == 0, done.stderr
    assert "1 corrupt" in done.stdout
    done = script("evaluate.py", "--run_dir=run", "--noskip_corrupt", folder=photos)
    assert done.returncode == 1 and "2000 pixels" in done.stderr, done.stderr
    done = script(
        "evaluate.py", "--run_dir=run", "--noskip_corrupt", "--max_pixels=2000", folder=photos
    )
    assert done.returncode == 0, done.stderr
    done = script("export.py", "--run_dir=run", "--name=net", "--max_pixels=1999", folder=photos)
    assert done.returncode == 0, done.stderr
    done = script("predict.py", "--saved_model=saved_models/net", str(large), folder=photos)
    assert done.returncode == 1 and "2000 pixels" in done.stderr
