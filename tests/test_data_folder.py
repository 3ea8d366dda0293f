"""Image folders: what is read, what is refused."""

import os
import pathlib

import numpy as np
import pytest
import tensorflow as tf
from PIL import Image

from keras_resnets import Preprocessing
from keras_resnets.data import load_splits, parse_augment, training_dataset

PIXELS = np.random.default_rng(0).integers(0, 256, (8, 9, 3)).astype(np.uint8)


def write(path, pixels=PIXELS, mode=None, kind="PNG", **options):
    path.parent.mkdir(parents=True, exist_ok=True)
    image = Image.fromarray(pixels)
    (image.convert(mode) if mode else image).save(path, kind, **options)
    return path


def class_folders(root, counts):
    for name, count in counts.items():
        for i in range(count):
            write(root / name / f"{i}.png", np.full((4, 5, 3), i, np.uint8))
    return str(root)


def read(source, index):
    image, label = source.load(np.int64(index))
    return image.numpy(), int(label)


@pytest.fixture
def sorted_folder(tmp_path):
    """Ten images of class a, their value 0..9, and twenty of class b, 10..29."""
    for value in range(30):
        pixels = np.full((4, 5, 3), value, np.uint8)
        write(tmp_path / "ab"[value >= 10] / f"{value}.png", pixels)
    return str(tmp_path)


def values(source):
    return [int(read(source, i)[0].max()) for i in range(source.num_examples)]


def test_bare_class_folders_are_divided_by_class(sorted_folder):
    parts = load_splits(sorted_folder)
    assert [part.num_examples for part in parts] == [24, 3, 3]
    assert [np.bincount(part.labels).tolist() for part in parts] == [[8, 16], [1, 2], [1, 2]]
    assert sorted(sum(map(values, parts), [])) == list(range(30))
    assert parts.train.class_names == ("a", "b")
    assert parts.train.image_shape == (4, 5, 3) and parts.train.channels == 3
    for index in range(24):
        image, label = read(parts.train, index)
        assert label == (image.max() >= 10) == parts.train.labels[index]
        assert parts.train.file_name(index) == f"{sorted_folder}/{'ab'[label]}/{image.max()}.png"
    again, other = load_splits(sorted_folder), load_splits(sorted_folder, seed=1)
    assert values(parts.test) == values(again.test) != values(other.test)


def test_slices_count_a_fixed_mixed_order(sorted_folder):
    parts = load_splits(
        sorted_folder, train_split="train[:15]", validation_split="train[15:80%]", seed=1
    )
    assert [part.num_examples for part in parts] == [15, 9, 2]  # a test set from the rest
    assert len(set(sum(map(values, parts), []))) == 26
    assert set(parts.train.labels) == {0, 1}
    same = load_splits(sorted_folder, validation_split="train[15:80%]", seed=2).validation
    assert values(same) == values(parts.validation)


def test_train_and_val_folders(tmp_path):
    path = class_folders(tmp_path / "train", {"a": 10, "b": 10})
    class_folders(tmp_path / "val", {"a": 2, "b": 3})
    parts = load_splits(str(tmp_path))
    # Without test/, val/ is the test set, which must not choose the best epoch.
    assert [part.num_examples for part in parts] == [18, 2, 5]
    class_folders(tmp_path / "test", {"a": 1, "b": 1})
    assert [part.num_examples for part in load_splits(str(tmp_path))] == [20, 5, 2]
    assert load_splits(path).train.num_examples == 16


def test_unlabelled_test_folder_is_left_out(tmp_path):
    for split in ("train", "validation"):
        class_folders(tmp_path / split, {"a": 10, "b": 10})
    write(tmp_path / "test" / "x.png")
    assert load_splits(str(tmp_path)).test.num_examples == 20


FORMATS = {
    "rgb.png": {},
    "upper.JPG": {"kind": "PNG"},
    "no_suffix": {"kind": "BMP"},
    "grey.png": {"mode": "L"},
    "grey_alpha.png": {"mode": "LA"},
    "binary.png": {"mode": "1"},
    "palette.png": {"mode": "P"},
    "alpha.PNG": {"mode": "RGBA"},
    "colour.bmp": {"kind": "BMP"},
    "grey.bmp": {"kind": "BMP", "mode": "L"},
    "palette.bmp": {"kind": "BMP", "mode": "P"},
    "alpha.bmp": {"kind": "BMP", "mode": "RGBA"},
    "binary.bmp": {"kind": "BMP", "mode": "1"},
    "one.gif": {"kind": "GIF"},
    "grey.gif": {"kind": "GIF", "mode": "L"},
    "colour.jpeg": {"kind": "JPEG"},
    "grey.jpeg": {"kind": "JPEG", "mode": "L"},
    "cmyk.jpg": {"kind": "JPEG", "mode": "CMYK"},
    "colour.webp": {"kind": "WEBP"},
    "webp_without_suffix": {"kind": "WEBP", "lossless": True},
}


def test_formats_are_read_as_rgb(tmp_path):
    for name, options in FORMATS.items():
        write(tmp_path / "a" / name, **options)
    write(tmp_path / "b" / "b.png")
    source = load_splits(str(tmp_path), train_split="train").train
    parts = load_splits(str(tmp_path))
    found = {}
    for part in parts:
        for i in range(part.num_examples):
            found[part.file_name(i)] = read(part, i)[0]
    assert len(found) == len(FORMATS) + 1 > source.num_examples
    for file, image in found.items():
        np.testing.assert_array_equal(image, Image.open(file).convert("RGB"), err_msg=file)


def test_sixteen_bit_and_animated_images(tmp_path):
    deep = np.arange(72, dtype=np.uint16).reshape(8, 9) * 900
    write(tmp_path / "a" / "deep.png", deep)
    frames = [Image.fromarray(255 - PIXELS)]
    write(tmp_path / "b" / "film.gif", kind="GIF", save_all=True, append_images=frames)
    write(tmp_path / "b" / "other.gif", kind="GIF")
    parts = load_splits(
        str(tmp_path), train_split="train", validation_split="train", test_split="train"
    ).train
    found = {parts.file_name(i).split("/")[-1]: read(parts, i)[0] for i in range(3)}
    np.testing.assert_array_equal(found["deep.png"][..., 0], deep >> 8)
    np.testing.assert_array_equal(found["film.gif"], found["other.gif"])


def test_images_of_several_sizes_are_read_from_disk(tmp_path):
    for i in range(12):
        write(tmp_path / "ab"[i % 2] / f"{i}.png", np.full((4 + i, 5, 3), i, np.uint8))
    source = load_splits(str(tmp_path)).train
    assert source.image_shape is None and not source.loads_batches
    for index in range(source.num_examples):
        image, _ = read(source, index)
        assert image.shape == (4 + image.max(), 5, 3)


def test_what_is_hidden_or_no_image_is_left_alone(tmp_path):
    path = class_folders(tmp_path, {"a": 5, "b": 5})
    for name in (".hidden.png", ".folder/x.png"):
        write(tmp_path / "a" / name)
    write(tmp_path / ".cache" / "x.png")
    (tmp_path / "a" / "readme.txt").write_text("no image")
    (tmp_path / "a" / "Thumbs.db").write_bytes(b"")
    (tmp_path / "notes.md").write_text("outside")
    write(tmp_path / "a" / "deeper" / "x.png", np.zeros((4, 5, 3), np.uint8))
    parts = load_splits(path)
    assert sum(part.num_examples for part in parts) == 11
    assert parts.train.class_names == ("a", "b")


@pytest.mark.parametrize("kind", ["cut PNG", "cut JPEG", "text", "empty"])
def test_corrupt_image_is_named_or_skipped(tmp_path, kind):
    path = class_folders(tmp_path, {"a": 10, "b": 10})
    bad = tmp_path / "b" / "bad.jpg"
    if kind.startswith("cut"):
        write(bad, kind=kind.split()[1])
        bad.write_bytes(bad.read_bytes()[:100])
    else:
        bad.write_bytes(b"text" if kind == "text" else b"")
    with pytest.raises(ValueError, match="^[^\n]+$") as error:
        load_splits(path)
    assert str(bad) in str(error.value) and "1 of 21" in str(error.value)
    parts = load_splits(path, skip_corrupt=True)
    assert sum(part.num_examples for part in parts) == 20
    assert parts.train.num_skipped == 1


def test_an_image_with_too_many_pixels_is_named_or_skipped(tmp_path):
    path = class_folders(tmp_path, {"a": 10, "b": 10})
    large = write(tmp_path / "b" / "large.png", np.zeros((50, 41, 3), np.uint8))
    with pytest.raises(ValueError, match="^[^\n]+$") as error:
        load_splits(path, max_pixels=2049)
    assert f"1 of 21 images cannot be used: {large} has 2050 pixels" in str(error.value)
    parts = load_splits(path, max_pixels=2049, skip_corrupt=True)
    assert parts.train.num_skipped == 1
    assert sum(part.num_examples for part in load_splits(path, max_pixels=2050)) == 21


def test_a_file_that_grew_too_large_is_named(tmp_path):
    path = class_folders(tmp_path, {"a": 10, "b": 10})
    write(tmp_path / "a" / "x.png")  # of another size: images are read from disk
    source = load_splits(path, train_split="train", max_pixels=2000).train
    grown = source.file_name(3)
    write(pathlib.Path(grown), np.zeros((50, 50, 3), np.uint8))
    with pytest.raises(tf.errors.InvalidArgumentError, match=f"{grown} has 2500 pixels"):
        read(source, 3)


def test_a_class_of_corrupt_images_only_is_refused(tmp_path):
    path = class_folders(tmp_path, {"a": 3})
    (tmp_path / "b").mkdir()
    (tmp_path / "b" / "x.png").write_bytes(b"")
    with pytest.raises(ValueError, match="class folder .*/b holds no image"):
        load_splits(path, skip_corrupt=True)


@pytest.mark.parametrize(
    ("counts", "message"),
    [
        ({}, "must hold two class folders or more. Received: none"),
        ({"a": 3}, "must hold two class folders or more. Received: a"),
        ({"a": 3, "b": 0}, "/b holds no image"),
        ({"a": 0, "b": 0}, "/a holds no image"),
        ({"train/a": 3, "train/b": 3, "val/a": 3, "val/c": 3}, "Only in one of them: b, c"),
        ({"train/a": 3, "train/b": 3, "val/a": 3, "val/b": 0}, "/val/b holds no image"),
        ({"train/a": 1, "train/b": 1, "val/a": 1, "validation/a": 1}, "not both"),
    ],
)
def test_bad_folders_end_in_one_line(tmp_path, counts, message):
    for name in counts:
        (tmp_path / name).mkdir(parents=True)
    class_folders(tmp_path, counts)
    with pytest.raises(ValueError, match="^[^\n]+$") as error:
        load_splits(str(tmp_path))
    assert message in str(error.value)


def test_missing_folder():
    with pytest.raises(FileNotFoundError, match="There is no folder ./nowhere"):
        load_splits("./nowhere")


@pytest.mark.parametrize("augment", [(), ("resize",), ("flip", "erase:p=1")])
def test_photos_of_several_sizes_make_batches(tmp_path, augment):
    for name in "ab":
        for i in range(6):
            write(tmp_path / name / f"{i}.png", np.full((9 + i, 12, 3), 10 * i, np.uint8))
    train = load_splits(str(tmp_path), train_split="train").train
    assert train.image_shape is None
    preprocessing = Preprocessing((0.0,) * 3, (1 / 255,) * 3, resize=(8, 8))
    batches = training_dataset(
        train, preprocessing, parse_augment(augment), 4, seed=0, image_size=(8, 8)
    )
    for images, labels in batches.take(4):
        assert images.shape == (4, 8, 8, 3) and labels.shape == (4, 2)


def test_a_class_may_be_called_train(tmp_path):
    class_folders(tmp_path, {"train": 4, "plane": 5})
    parts = load_splits(str(tmp_path), train_split="train")
    assert parts.train.class_names == ("plane", "train")


def test_text_that_begins_like_a_bitmap_is_left_alone(tmp_path):
    class_folders(tmp_path, {"a": 4, "b": 4})
    (tmp_path / "a" / "notes.txt").write_text("BMW is a car, not a bitmap")
    assert sum(part.num_examples for part in load_splits(str(tmp_path))) == 8


def test_a_link_to_its_own_folder_adds_nothing(tmp_path):
    path = class_folders(tmp_path, {"a": 12, "b": 12})
    (tmp_path / "a" / "again").symlink_to(tmp_path / "a")
    (tmp_path / "b" / "all").symlink_to(tmp_path)
    assert sum(part.num_examples for part in load_splits(path)) == 24


@pytest.mark.parametrize("sizes", ["one", "several"])
def test_names_that_are_not_utf8(tmp_path, sizes):
    path = class_folders(tmp_path, {"a": 4})
    folder = tmp_path / os.fsdecode(b"caf\xe9")
    folder.mkdir()
    for i in range(4):
        shape = (4, 5 + (sizes == "several") * i, 3)
        Image.fromarray(np.full(shape, i, np.uint8)).save(folder / os.fsdecode(b"\xff%d.png" % i))
    source = load_splits(path, train_split="train").train
    assert source.class_names == ("a", r"caf\xe9")
    names = [source.file_name(i) for i in range(source.num_examples)]
    assert fr"{tmp_path}/caf\xe9/\xff2.png" in names
    for i, name in enumerate(names):
        assert (read(source, i)[0] == int(name[-5])).all()
    (folder / os.fsdecode(b"\xff2.png")).write_bytes(b"no image")
    if sizes == "several":
        with pytest.raises(tf.errors.InvalidArgumentError, match="2.png is not a whole JPEG"):
            read(source, names.index(fr"{tmp_path}/caf\xe9/\xff2.png"))
    with pytest.raises(ValueError, match=r"/caf\\xe9/\\xff2.png is not a whole JPEG"):
        load_splits(path)
