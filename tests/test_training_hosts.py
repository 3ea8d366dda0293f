"""Several hosts: shards, and trainings by processes that talk over loopback.

The one training of two workers that is not marked slow took 169 s on 2 busy cores, as it starts
four processes; of the slow ones, a killed worker took 330 s, the others 40 and 79 s.
"""

import csv
import json
import os
import signal
import subprocess
import sys
import time
import types

import numpy as np
import pytest
import tensorflow as tf
from test_training_cluster import free_ports

from keras_resnets import Preprocessing, data
from keras_resnets.errors import UserError
from keras_resnets.training.hosts import Hosts

WORKER = """
import json, os, signal, sys
import numpy as np
from keras_resnets.training import Recipe, callbacks, trainer

settings, run_dir, killed_at = json.loads(sys.argv[1]), sys.argv[2], int(sys.argv[3])
results, begin = trainer._results, callbacks.Checkpoint.on_train_batch_begin

def shown(model, *args):
    print("weights:", [float(np.abs(np.asarray(w)).sum()) for w in model.weights])
    return results(model, *args)

def killed(self, batch, logs=None):
    if killed_at and len(self.rows) * 3 + self.watch.done == killed_at:
        os.kill(os.getpid(), signal.SIGKILL)
    begin(self, batch, logs)

trainer._results, callbacks.Checkpoint.on_train_batch_begin = shown, killed
try:
    trainer.train(Recipe(**settings), run_dir)
except (ValueError, OSError) as error:
    sys.exit(f"error: {error}")
"""
SETTINGS = {
    "model": "resnet_cifar", "option": ["depth=8", "width=4", "norm=sync_batch"],
    "dataset": "digits", "train_split": "train[:100]", "validation_split": "test[:45]",
    "test_split": "test[:45]", "batch_size": 32, "lr": 0.1, "label_smoothing": 0.1,
    "augment": "pad_crop:padding=1", "mix": "mixup:p=0.5", "epochs": 2,
}  # fmt: skip


def start(folder, settings, workers=0, killed=(None, 0), run_dirs=("run", "run")):
    """Starts a training in processes of its own: alone, or `workers` of them."""
    addresses = [f"127.0.0.1:{port}" for port in free_ports(workers)]
    processes = []
    for index in range(workers or 1):
        environment = {**os.environ, "TF_CPP_MIN_LOG_LEVEL": "3"}
        if workers:
            task = {"type": "worker", "index": index}
            config = {"cluster": {"worker": addresses}, "task": task}
            environment["TF_CONFIG"] = json.dumps(config)
        killed_at = killed[1] if killed[0] == index else 0
        arguments = [json.dumps(settings), run_dirs[index], str(killed_at)]
        processes.append(
            subprocess.Popen(
                [sys.executable, "-c", WORKER, *arguments], cwd=folder, env=environment,
                stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True,
            )  # fmt: skip
        )
    return processes


def finish(processes):
    """Waits for processes; gives the lines of weights they end with."""
    outputs = [process.communicate(timeout=300) for process in processes]
    for process, (_, errors) in zip(processes, outputs, strict=True):
        assert process.returncode == 0, errors[-3000:]
    return [
        json.loads(line.removeprefix("weights: "))
        for output, _ in outputs
        for line in output.splitlines()
        if line.startswith("weights: ")
    ]


def losses(folder):
    with open(folder / "run" / "log.csv", encoding="utf-8") as file:
        rows = list(csv.DictReader(file))
    return np.array(
        [[float(v) for k, v in row.items() if "loss" in k or "acc" in k or "ent" in k]
         for row in rows]
    )  # fmt: skip


def test_two_hosts_train_as_two_devices_and_one(tmp_path):
    folders = [tmp_path / name for name in ("hosts", "devices", "one")]
    for folder in folders:
        folder.mkdir()
    first, second = finish(start(folders[0], SETTINGS, workers=2))
    (mirrored,) = finish(start(folders[1], {**SETTINGS, "logical_devices": 2}))
    (single,) = finish(start(folders[2], SETTINGS))
    assert first == second
    np.testing.assert_allclose(first, mirrored, rtol=1e-5, atol=1e-5)
    np.testing.assert_allclose(first, single, rtol=1e-4, atol=1e-4)
    hosts, devices, one = map(losses, folders)
    assert hosts.shape[0] == 2
    np.testing.assert_allclose(hosts, devices, rtol=1e-5)
    np.testing.assert_allclose(hosts, one, rtol=1e-5)
    found = [json.loads((folder / "run" / "results.json").read_text()) for folder in folders]
    for other in found[1:]:
        assert found[0]["last"]["top1"] == pytest.approx(other["last"]["top1"])
        assert found[0]["last"]["topk"] == pytest.approx(other["last"]["topk"])
        assert found[0]["last"]["loss"] == pytest.approx(other["last"]["loss"], rel=1e-5)


@pytest.mark.slow
@pytest.mark.parametrize("killed", [0, 1])
def test_a_killed_worker_ends_the_others_and_all_go_on(tmp_path, killed):
    # Batch norm that is not synchronized: its statistics are averaged when the run is saved.
    settings = {**SETTINGS, "option": ["depth=8", "width=4"], "checkpoint_steps": 2,
                "ema_decay": 0.9, "mix": ""}  # fmt: skip
    folders = [tmp_path / name for name in ("whole", "killed")]
    for folder in folders:
        folder.mkdir()
    whole = finish(start(folders[0], settings, workers=2))
    processes = start(folders[1], settings, workers=2, killed=(killed, 5))
    assert processes[killed].wait(300) == -signal.SIGKILL
    since = time.monotonic()
    _, errors = processes[1 - killed].communicate(timeout=60)
    assert processes[1 - killed].returncode not in (0, -signal.SIGKILL)
    assert time.monotonic() - since < 60
    if killed:  # the chief, when it is gone, takes TensorFlow's own service with it
        assert "error: worker 1 has stopped or cannot be reached" in errors
    again = finish(start(folders[1], settings, workers=2))
    assert again == whole and whole[0] == whole[1]
    np.testing.assert_array_equal(losses(folders[0]), losses(folders[1]))


@pytest.mark.slow
def test_sigterm_to_one_worker_saves_and_ends_all(tmp_path):
    settings = {**SETTINGS, "epochs": 2000}
    processes = start(tmp_path, settings, workers=2)
    while not (tmp_path / "run" / "log.csv").exists():
        time.sleep(0.2)
        assert all(process.poll() is None for process in processes)
    processes[1].send_signal(signal.SIGTERM)
    outputs = [process.communicate(timeout=60)[0] for process in processes]
    assert [process.returncode for process in processes] == [143, 143]
    assert "SIGTERM: saved" in outputs[0]


@pytest.mark.slow
def test_hosts_must_share_the_folder_and_the_flags(tmp_path):
    processes = start(tmp_path, SETTINGS, workers=2, run_dirs=("run", "elsewhere"))
    errors = [process.communicate(timeout=300)[1] for process in processes]
    for each in errors:
        assert "error: worker 1 does not see what worker 0 writes to" in each
    assert not (tmp_path / "run").exists()


def batches(dataset, count):
    return list(dataset.take(count).as_numpy_iterator())


@pytest.mark.parametrize("settings", [{}, {"mix": "mixup,cutmix"}, {"repeats": 3}])
@pytest.mark.parametrize("kind", ["arrays", "files"])
def test_shards_are_the_rows_of_global_batches(settings, kind, tmp_path):
    source = data.load_splits("digits").train[:50]
    if kind == "files":
        source = as_files(source[:26], tmp_path)
    preprocessing = Preprocessing(*data.statistics(source))
    arguments = (source, preprocessing, "pad_crop:padding=1", 12)

    def made(shard):
        return batches(
            data.training_dataset(*arguments, repeat=True, first_step=1, shard=shard, **settings),
            6,
        )

    whole = made((0, 1))
    for workers in (2, 3):
        parts = [made((worker, workers)) for worker in range(workers)]
        for step, (images, labels) in enumerate(whole):
            pieces = zip(*(part[step] for part in parts), strict=True)
            pieces = [np.concatenate(piece) for piece in pieces]
            np.testing.assert_array_equal(pieces[0], images)
            np.testing.assert_array_equal(pieces[1], labels)


@pytest.mark.parametrize("kind", ["arrays", "files"])
@pytest.mark.parametrize("count", [1, 24, 26])
def test_evaluation_shards_show_every_image_once(count, kind, tmp_path):
    source = data.load_splits("digits").train[:count]
    if kind == "files":
        source = as_files(source, tmp_path)
    preprocessing = Preprocessing((0.5,) * source.channels, (1.0,) * source.channels)
    ((images, labels, _),) = batches(data.evaluation_dataset(source, preprocessing, 64), 2)
    shards = [
        batches(data.evaluation_dataset(source, preprocessing, 12, 6, shard=(worker, 3)), 9)
        for worker in range(3)
    ]
    assert {len(shard) for shard in shards} == {-(-count // 12)}
    shown = []
    for parts in zip(*shards, strict=True):
        assert len({len(part[2]) for part in parts}) == 1 and len(parts[0][2]) % 2 == 0
        for shown_images, shown_labels, weights in parts:
            shown += zip(shown_images[weights > 0], shown_labels[weights > 0], strict=True)
    np.testing.assert_array_equal([image for image, _ in shown], images)
    np.testing.assert_array_equal([label for _, label in shown], labels)


def as_files(source, folder):
    """The examples of a source as image files, decoded one by one."""
    from PIL import Image

    paths, names = [], []
    for place, (image, label) in enumerate(source):
        paths.append(folder / f"{place}.png")
        Image.fromarray(image[..., 0]).convert("RGB").save(paths[-1])
        names.append(str(label))
    return data.from_files(paths, names)


def test_a_worker_of_two_devices_gives_each_its_part_of_a_batch():
    strategy = types.SimpleNamespace(
        num_replicas_in_sync=4, distribute_datasets_from_function=lambda made: made(None)
    )
    hosts = Hosts(tf.distribute.get_strategy())
    hosts.strategy, hosts.count = strategy, 2
    whole = tf.data.Dataset.from_tensors((tf.range(6), tf.ones((6, 3)))).repeat(2)
    for dataset in (whole, whole.unbatch().batch(6)):  # of a known size, and of one that varies
        images, labels = zip(*hosts.distribute(dataset).as_numpy_iterator(), strict=True)
        np.testing.assert_array_equal(images, [[0, 1, 2], [3, 4, 5]] * 2)
        np.testing.assert_array_equal(labels, np.ones((4, 3, 3)))


def test_shards_that_are_none():
    source = data.load_splits("digits").train[:50]
    preprocessing = Preprocessing(*data.statistics(source))
    for shard in ((2, 2), (0, 0), 1):
        with pytest.raises(UserError, match="`shard` must be"):
            data.training_dataset(source, preprocessing, batch_size=12, shard=shard)
    with pytest.raises(UserError, match="`batch_size` must be divisible by the 5 workers"):
        data.training_dataset(source, preprocessing, batch_size=12, shard=(0, 5))
