"""Training on what is in hand already: arrays, a tf.data set, a CSV list of files."""

import dataclasses

import keras
import numpy as np
import pytest
import tensorflow as tf

from keras_resnets import Preprocessing, data
from keras_resnets.data.mixing import Mixup
from keras_resnets.errors import UserError
from keras_resnets.training import Recipe, train

NAMES = ("cat", "dog", "eel")


@pytest.fixture
def arrays(rng):
    return rng.integers(0, 256, (60, 8, 8, 3), "uint8"), rng.integers(0, 3, 60)


def recipe(**changes):
    settings = {"model": "resnet_cifar", "option": {"depth": 8, "width": 4}, "dataset": "mine"}
    return Recipe(**{**settings, "batch_size": 16, "epochs": 2, **changes})


def weights(run):
    return keras.saving.load_model(run / "last.keras").get_weights()


@pytest.mark.slow
def test_arrays_and_a_dataset_of_them_are_trained_on(arrays, tmp_path):
    stream = tf.data.Dataset.from_tensor_slices(arrays)
    splits = {
        "arrays": data.make_splits(arrays, class_names=NAMES),
        "stream": data.make_splits(stream, class_names=NAMES),
    }
    for name, parts in splits.items():
        assert [part.num_examples for part in parts] == [54, 6, 6]
        results = train(recipe(), tmp_path / name, parts)
        assert results["test_images"] == 6 and results["last"]["epoch"] == 2
        model = keras.saving.load_model(tmp_path / name / "best.keras")
        assert model.class_names == NAMES
    for epochs in (1, 2):  # and goes on as exactly as any other
        train(recipe(epochs=epochs), tmp_path / "parted", splits["stream"])
    both = weights(tmp_path / "parted"), weights(tmp_path / "stream")
    for ours, theirs in zip(*both, strict=True):
        np.testing.assert_array_equal(ours, theirs)
    other = data.make_splits((arrays[0][::-1], arrays[1]), arrays, class_names=NAMES)
    with pytest.raises(UserError, match="the training images of arrays are not those"):
        train(recipe(epochs=3), tmp_path / "arrays", other)


def test_a_dataset_is_a_source(arrays):
    images, labels = arrays
    dataset = tf.data.Dataset.from_tensor_slices((images, labels.astype("uint8")))
    source = data.from_dataset(dataset.filter(lambda image, label: label < 2), NAMES)
    assert source.num_examples == np.sum(labels < 2) and source.labels is None
    image, label = source[3]
    place = np.flatnonzero(labels < 2)[3]
    np.testing.assert_array_equal(image, images[place])
    assert label == labels[place]
    order = [int(row) for row, _ in source.shuffled(0, tf.constant(1, tf.int64))]
    assert sorted(order) == list(range(source.num_examples))


def test_a_dataset_of_images_of_several_sizes(arrays):
    def sizes():
        for place, (image, label) in enumerate(zip(*arrays, strict=True)):
            yield image[: 4 + place % 5], label

    specs = tf.TensorSpec((None, None, 3), tf.uint8), tf.TensorSpec((), tf.int64)
    stream = tf.data.Dataset.from_generator(sizes, output_signature=specs)
    source = data.from_dataset(stream, NAMES)
    np.testing.assert_array_equal(source[7][0], arrays[0][7, :6])
    preprocessing = Preprocessing((0.5,) * 3, (0.25,) * 3, resize=8, crop=(8, 8))
    for augment in ([], ["random_resized_crop", "flip"]):
        batches = data.training_dataset(source, preprocessing, augment, 16, 0, image_size=(8, 8))
        assert [images.shape for images, _ in batches] == [(16, 8, 8, 3)] * 3
    batches = data.evaluation_dataset(source, preprocessing, 16)
    assert sum(float(tf.reduce_sum(weights)) for _, _, weights in batches) == 60


def test_what_is_held_out_is_not_trained_on(arrays):
    splits = data.make_splits(arrays, seed=1)
    seen = [{image.tobytes() for image, _ in part} for part in splits[:2]]
    assert not seen[0] & seen[1] and len(seen[0] | seen[1]) == 60
    test = data.from_arrays(*arrays)
    assert data.make_splits(arrays, test=test).test is test


@pytest.mark.parametrize(
    ("make", "words"),
    [
        (lambda images, labels: (images,), "`train` must be a source, a pair"),
        (lambda images, labels: tf.data.Dataset.range(3), "`class_names` is needed"),
        (lambda images, labels: (images[:1], labels[:1]), "`train` must be of two images or more"),
    ],
)
def test_what_is_no_part(make, words, arrays):
    with pytest.raises(UserError, match=words):
        data.make_splits(make(*arrays))


def test_what_is_no_dataset_of_images(arrays):
    good = tf.data.Dataset.from_tensor_slices(arrays)
    for dataset, words in (
        (good.batch(2), "one by one. Received"),
        (good.map(lambda image, label: (tf.cast(image, tf.float32), label)), "uint8 images"),
        (good.repeat(), "finite: leave out repeat"),
        (good.take(0), "of one example or more"),
        (arrays[0], "must be a tf.data.Dataset"),
    ):
        with pytest.raises(UserError, match=words):
            data.from_dataset(dataset, NAMES)
    grey = (arrays[0][..., :1], arrays[1])
    with pytest.raises(UserError, match="of the 3 classes and 3 channels"):
        data.make_splits(arrays, validation=grey)


@pytest.fixture
def listed(arrays, tmp_path):
    """Twelve PNG files, four a class, and the lines of a list of them."""
    (tmp_path / "photos").mkdir()
    lines = []
    for place, image in enumerate(arrays[0][:12]):
        name = f"photos/{place}, {'ä' * (place == 3)}.png"
        (tmp_path / name).write_bytes(tf.io.encode_png(image).numpy())
        lines.append(f'"{name}",{NAMES[place % 3]},{"train" if place < 9 else "val"}')
    return tmp_path, lines, arrays[0]


def test_a_list_of_files(listed):
    folder, lines, images = listed
    path = folder / "list.csv"
    path.write_text("\n".join(["file,label,split", *lines]) + "\n", encoding="utf-8")
    splits = data.load_splits(str(path))
    assert splits.train.class_names == NAMES
    assert len(splits.train) + len(splits.validation) == 9 and len(splits.test) == 3
    found = {image.tobytes(): label for image, label in splits.test}
    assert found == {images[place].tobytes(): place % 3 for place in range(9, 12)}
    train = data.load_splits(path, train_split="train[:6]", splits=("train",)).train
    assert train.num_examples == 6 and train.file_name(0).startswith(str(folder / "photos"))
    names = [line.rpartition(",")[0] for line in lines]
    path.write_text("\n".join(["file,label", *names]), encoding="utf-8")
    assert sum(map(len, data.load_splits(path))) == 12
    path = folder / "LIST.CSV"
    path.write_text("\n".join(["file, label, split", *lines]), encoding="utf-8")
    assert sum(map(len, data.load_splits(str(path)))) == 12


def test_a_list_in_the_working_directory_by_its_bare_name(listed, monkeypatch):
    folder, lines, _ = listed
    (folder / "LIST.CSV").write_text("\n".join(["file,label,split", *lines]), encoding="utf-8")
    monkeypatch.chdir(folder)
    assert sum(map(len, data.load_splits("LIST.CSV"))) == 12


@pytest.mark.parametrize(
    ("text", "words"),
    [
        ("name,label\na,b\n", "must have the columns file, label"),
        ("file,label\n", "Received: 0 rows of file, label"),
        ("", "Received: 0 rows of nothing"),
        ("file,label\nnone.png,cat\n", "line 2: there is no file .*none.png"),
        ("file,label\nlist.csv,\n", "line 2 must name a file, a label, and a split of train, val"),
        ("file,label,split\nlist.csv,cat,dev\n", "line 2 must name a file"),
        ("file,label\n\nlist.csv,a\n\nnone.png,cat\n", "line 5: there is no file .*none.png"),
        ('file,label\nlist.csv,"a\nb"\nnone.png,cat\n', "line 4: there is no file .*none.png"),
        (
            "file,label\nlist.csv,a\n./list.csv,a\n./list.csv,b\n",
            "one label in a split. Received: ./list.csv of 'a' in line 2 and of 'b' in line 4",
        ),
        ("file,label\nlist.csv,cat\n", "must name two classes or more. Received: cat"),
        ("file,label,split\nlist.csv,a,val\nlist.csv,b,test\n", "must have rows of the split"),
        ("file,label,split\nlist.csv,a,train\nlist.csv,b,val\n", "2 of 2 images cannot be used"),
    ],
)
def test_lists_that_cannot_be_used(text, words, tmp_path):
    path = tmp_path / "list.csv"
    path.write_text(text)
    with pytest.raises(UserError, match=words) as caught:
        data.load_splits(str(path))
    assert "\n" not in str(caught.value)


def test_no_list(tmp_path):
    with pytest.raises(FileNotFoundError, match="There is no list"):
        data.load_splits(str(tmp_path / "list.csv"))


def test_a_dataset_is_cropped_at_random(arrays):
    source = data.from_dataset(tf.data.Dataset.from_tensor_slices(arrays), NAMES)
    preprocessing = Preprocessing((0.5,) * 3, (0.25,) * 3)
    batches = data.training_dataset(
        source, preprocessing, "random_resized_crop,flip", 4, image_size=(6, 6)
    )
    images, labels = next(iter(batches))
    assert images.shape == (4, 6, 6, 3) and labels.shape == (4, 3)


def test_arrays_alone_are_trained_on(arrays, tmp_path):
    results = train(recipe(epochs=1, seed=3), tmp_path / "run", splits=arrays)
    assert results["test_images"] == 6
    same = data.make_splits(arrays, seed=3)
    train(recipe(epochs=2, seed=3), tmp_path / "run", same)


@pytest.mark.parametrize(
    ("make", "words"),
    [
        (tf.data.Dataset.from_tensor_slices, "give it to data.make_splits. Received: None"),
        (lambda arrays: data.Splits(data.from_arrays(*arrays)), "Received: validation, test=None"),
        (lambda arrays: arrays[0], "must be a source, a pair of arrays .* Received: ndarray"),
    ],
)
def test_what_cannot_be_trained_on(make, words, arrays, tmp_path):
    with pytest.raises(UserError, match=words):
        train(recipe(), tmp_path / "run", make(arrays))
    assert not (tmp_path / "run").exists()


@pytest.mark.parametrize("wrong", [-1, 3])
def test_labels_without_a_class(wrong, arrays, tmp_path):
    images, labels = arrays
    labels[57] = wrong  # of the held out images, which no gradient sees
    dataset = tf.data.Dataset.from_tensor_slices((images, labels))
    words = rf"labels of train must be in 0\.\.2, .* class names. Received: {wrong}"
    splits = data.make_splits(dataset, class_names=NAMES)
    with pytest.raises(OSError, match=words) as caught:
        train(recipe(epochs=1), tmp_path / "run", splits)
    assert "\n" not in str(caught.value)
    with pytest.raises(OSError, match=words):
        list(data.from_dataset(dataset, NAMES, "train"))


@dataclasses.dataclass(frozen=True)
class Invert(data.Operation):
    p: float = 0.5

    def __call__(self, images, numbers, context):
        return tf.where(numbers[:, 0, None, None, None] < self.p, 255 - images, images)


def test_a_recipe_takes_operations(arrays, tmp_path):
    run, splits = tmp_path / "run", data.make_splits(arrays)
    rotation = keras.layers.RandomRotation(0.1)

    def made(p=0.3, **changes):
        return recipe(augment=["flip", Invert(p), rotation], mix=[Mixup(alpha=0.5)], **changes)

    train(made(epochs=1), run, splits)
    train(made(epochs=2), run, splits)
    assert made().mix == ("mixup:alpha=0.5",) and made().augment[:2] == ("flip", "own:invert:p=0.3")
    assert made().augment[2].startswith("own:RandomRotation:") and "," not in made().augment[2]
    read = Recipe.load(run / "recipe.json")
    assert read == made()
    text = (run / "flags.txt").read_text()
    assert "# own:invert:p=0.3 was made in Python: this file alone cannot" in text
    changed = "--augment was flip,own:invert:p=0.3,.* is flip,own:invert:p=0.4,"
    with pytest.raises(UserError, match=changed):
        train(made(0.4, epochs=3), run, splits)
    with pytest.raises(UserError, match="train from Python.* Received: own:invert:p=0.3$"):
        train(dataclasses.replace(read, epochs=3), run, splits)
    assert train(read, run, splits)["last"]["epoch"] == 2  # a finished run is reported
