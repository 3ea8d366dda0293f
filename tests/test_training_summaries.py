"""TensorBoard's files after every kind of stop."""

import tensorflow as tf

from keras_resnets.training.summaries import Summaries

NAMES = ("loss", "accuracy", "cross_entropy")


def make_rows(count):
    row = {"learning_rate": 0.1, "images_per_second": 80.0}
    row |= dict.fromkeys((*NAMES, *(f"val_{name}" for name in NAMES)), 0.5)
    return [{**row, "epoch": epoch} for epoch in range(1, count + 1)]


def steps(folder):
    """The steps of one tag of each part, over all files."""
    found = {}
    for path in sorted(folder.rglob("*tfevents*")):
        for record in tf.data.TFRecordDataset(str(path)).as_numpy_iterator():
            event = tf.compat.v1.Event.FromString(record)
            if any(value.tag == "epoch_loss" for value in event.summary.value):
                found.setdefault(path.parent.name, []).append(event.step)
    return found


def test_every_epoch_is_there_once(tmp_path):
    rows = make_rows(2)
    (tmp_path / "validation").mkdir()
    leftover = tmp_path / "validation" / "events.out.tfevents.1.host.1.0.v2"
    leftover.write_bytes(b"half an event")
    note = tmp_path / "mine" / "events.out.tfevents.1.host.1.0.v2"
    note.parent.mkdir()
    note.touch()
    summaries = Summaries(tmp_path, rows)
    rows.append(make_rows(3)[-1])
    summaries.on_epoch_end(2)
    assert steps(tmp_path) == {"train": [1, 2, 3], "validation": [1, 2, 3]}
    Summaries(tmp_path, make_rows(2))  # of a run that goes on from an earlier epoch
    assert steps(tmp_path) == {"train": [1, 2], "validation": [1, 2]}
    assert note.exists() and not leftover.exists()


def test_the_name_of_the_folder_need_not_be_utf8(tmp_path):
    Summaries(tmp_path / "l\udce4uft", make_rows(1))
    assert len(list((tmp_path / "l\udce4uft").rglob("*tfevents*"))) == 2
