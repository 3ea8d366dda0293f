"""scripts/write_images.py on sets in memory and on streamed ones."""

import sys
from pathlib import Path

import numpy as np
import processes
import tensorflow as tf
from test_data_sources import LABELS, PIXELS, make_set

SCRIPT = Path(__file__).parents[1] / "scripts" / "write_images.py"
STREAMED = """
import runpy, sys
from keras_resnets.data import tfds_archive
tfds_archive.MEMORY_LIMIT = 0
sys.path.insert(0, {folder!r})
sys.argv = {arguments!r}
runpy.run_path(sys.argv[0], run_name="__main__")
"""


def test_streamed_images(tmp_path, run_code):
    made = make_set("streamed_images", tmp_path / "tfds", {"test": LABELS})
    arguments = [
        str(SCRIPT),
        f"--dataset={made['dataset']}",
        f"--data_dir={made['data_dir']}",
        "--count=3",
        f"--output_dir={tmp_path / 'out'}",
    ]
    code = STREAMED.format(folder=str(SCRIPT.parent), arguments=arguments)
    assert run_code(code).stdout == f"3 images in {tmp_path / 'out'}\n"
    known = {image.tobytes() for image in PIXELS}
    for path in sorted((tmp_path / "out").iterdir()):
        assert np.array(tf.io.decode_png(path.read_bytes())).tobytes() in known


def write_images(tmp_path, *arguments):
    return processes.run(
        [sys.executable, SCRIPT, "--dataset=digits", "--count=2", f"--output_dir={tmp_path}",
         *arguments], timeout=300,
    )


def test_a_sheet_of_an_augmentation(tmp_path):
    done = write_images(tmp_path, "--augment=pad_crop:padding=1,flip", "--draws=3")
    file = tmp_path / "augmentation.png"
    assert done.stdout == f"2 images, 3 draws of each in {file}\n", done.stderr
    assert [path.name for path in tmp_path.iterdir()] == ["augmentation.png"]
    assert np.array(tf.io.decode_png(file.read_bytes())).std() > 10


def test_an_augmentation_that_is_none(tmp_path):
    done = write_images(tmp_path, "--augment=pad_crip")
    assert done.returncode == 1 and done.stderr.startswith("error: `augment` must name operations")
