"""Mixup, cutmix and repeated augmentation against NumPy."""

import dataclasses

import numpy as np
import pytest
import tensorflow as tf

from keras_resnets import Preprocessing, UserError, data
from keras_resnets.data import augment, mixing, parse_mix

PREPROCESSING = Preprocessing((0.5,), (0.25,))


def batch(rng, count=5):
    images = rng.normal(size=(count, 6, 8, 3)).astype(np.float32)
    return images, np.eye(4, dtype=np.float32)[rng.integers(0, 4, count)]


def beta(way, numbers):
    return float(mixing.symmetric_beta(tf.constant(way.alpha), tf.constant(numbers)))


def partners(array):
    """The batch moved on by half its length."""
    return np.concatenate([array[-(len(array) // 2) :], array[: -(len(array) // 2)]])


def test_mixup_is_a_weighted_mean(rng):
    images, labels = batch(rng)
    numbers = np.array([[0.3, 0.1, 0.7, 0.0, 0.0]] + [[0.9] * 5] * 4, np.float32)
    way = mixing.Mixup(alpha=0.5)
    made, made_labels = mixing.Mixing(mixes=(way,))(images, labels, tf.constant(numbers))
    kept = beta(way, numbers[0, 1:3])
    assert 0 < kept < 1
    expected = kept * images + (1 - kept) * partners(images)
    np.testing.assert_allclose(made, expected, atol=1e-5)
    np.testing.assert_allclose(
        made_labels, kept * labels + (1 - kept) * partners(labels), atol=1e-5
    )


@pytest.mark.parametrize("place", [(0.5, 0.5), (0.0, 0.99)])
def test_cutmix_pastes_a_rectangle(place, rng):
    images, labels = batch(rng)
    kept = 0.6
    made, made_labels = mixing.Cutmix()(
        images, labels, partners(images), partners(labels), tf.constant(kept), tf.constant(place)
    )
    # The authors' rand_bbox, with their W as the height.
    tall, wide = int(6 * np.sqrt(1 - kept)), int(8 * np.sqrt(1 - kept))
    row, column = int(6 * place[0]), int(8 * place[1])
    top, bottom = np.clip([row - tall // 2, row + tall // 2], 0, 6)
    left, right = np.clip([column - wide // 2, column + wide // 2], 0, 8)
    expected = images.copy()
    expected[:, top:bottom, left:right] = partners(images)[:, top:bottom, left:right]
    np.testing.assert_array_equal(made, expected)
    left_over = 1 - (bottom - top) * (right - left) / 48
    np.testing.assert_allclose(
        made_labels, left_over * labels + (1 - left_over) * partners(labels), atol=1e-6
    )
    assert 0.5 < left_over < 1


@pytest.mark.parametrize("alpha", [0.01, 0.2, 1.0, 4.0])
def test_shares_are_drawn_from_a_beta_distribution(alpha):
    numbers = tf.random.stateless_uniform((3000, 2), (0, 1))

    @tf.function
    def draw(numbers):
        return tf.map_fn(lambda row: mixing.symmetric_beta(tf.constant(alpha), row), numbers)

    drawn = draw(numbers).numpy()
    assert np.isfinite(drawn).all() and drawn.min() >= 0 and drawn.max() <= 1
    assert abs(drawn.mean() - 0.5) < 0.03
    assert abs(drawn.var() - 1 / (4 * (2 * alpha + 1))) < 0.012
    expected = np.sort(np.random.default_rng(0).beta(alpha, alpha, 3000))
    assert np.abs(np.sort(drawn) - expected)[::50].mean() < 0.03


@pytest.mark.parametrize(
    ("mix", "shares"),
    [
        ("mixup:alpha=0.2,cutmix:alpha=1.0:p=0.5", (0.5, 0.5)),
        ("mixup,cutmix", (0.5, 0.5)),
        ("mixup:p=0.2,cutmix:p=0.3", (0.2, 0.3)),
        (["cutmix"], (1.0,)),
        (mixing.Mixup(p=0.1), (0.1,)),
    ],
)
def test_each_batch_is_mixed_in_one_way(mix, shares):
    chosen = parse_mix(mix)
    assert chosen.shares == pytest.approx(shares)
    assert parse_mix([str(way) for way in chosen.mixes]) == chosen
    images = np.arange(4 * 16, dtype=np.float32).reshape(4, 4, 4, 1)
    moved = np.roll(images, 2, 0)

    @tf.function
    def mixed(numbers):
        def one(row):
            return chosen(tf.constant(images), tf.eye(4), tf.tile(row[None], (4, 1)))[0]

        return tf.map_fn(one, numbers)

    kinds = []
    for made in mixed(augment.draw((chosen,), 0, 0, 600)).numpy():
        if (made == images).all():
            kinds.append("none")  # a rectangle of no pixel too
        else:
            pasted = ((made == images) | (made == moved)).all()
            kinds.append("cutmix" if pasted else "mixup")
    names = [way.word() for way in chosen.mixes]
    for name, share in zip(names, shares, strict=True):
        least = 0.75 if name == "cutmix" else 0.9
        assert least * share - 0.06 < kinds.count(name) / 600 < share + 0.06


@pytest.mark.parametrize(
    ("mix", "message"),
    [
        ("mixin", "`mix` must name ways of mixup, cutmix, or be Mixes. Received: 'mixin'"),
        ("mixup:alpha=0", "`alpha` of mixup must be above 0. Received: alpha=0.0"),
        ("mixup:p=1.5", "`p` of mixup must be in 0..1"),
        ("mixup:p=often", "`p` of mixup must be of type float"),
        ("cutmix:beta=1", "cutmix takes p, alpha, each once"),
        ("mixup:p=0.8,cutmix:p=0.3", "that sum to 1 at most, the share of all batches"),
        (3, "Received: 3"),
    ],
)
def test_bad_ways_in_one_line(mix, message):
    with pytest.raises(UserError, match="^[^\n]+$") as error:
        parse_mix(mix)
    assert message in str(error.value)


def digits(count=40):
    return data.load_splits("digits", splits=("test",)).test[:count]


def epochs(source, batch_size=6, **arguments):
    dataset = data.training_dataset(source, PREPROCESSING, batch_size=batch_size, **arguments)
    return list(dataset.as_numpy_iterator())


def equal(one, other):
    for (images, labels), (others, other_labels) in zip(one, other, strict=True):
        np.testing.assert_array_equal(images, others)
        np.testing.assert_array_equal(labels, other_labels)


ALL = dict(
    augment="pad_crop:padding=1,flip,rand-m7-n1-inc1,cutout:size=3",
    mix="mixup:alpha=0.2:p=0.4,cutmix:p=0.4",
    repeats=2,
    seed=3,
)


def test_batches_depend_on_seed_and_epoch_alone():
    source = digits()
    both = epochs(source, repeat=2, parallel_calls=1, **ALL)
    equal(epochs(source, repeat=2, parallel_calls=4, **ALL), both)
    equal(epochs(source, first_epoch=1, **ALL), both[6:])
    assert not np.array_equal(both[0][0], both[6][0])
    with pytest.raises(AssertionError):
        equal(epochs(source, **ALL | dict(seed=4)), both[:6])


def test_mixing_follows_the_augmented_batch():
    source = digits()
    plain = epochs(source, augment="flip", seed=3)
    mixed = epochs(source, augment="flip", seed=3, mix="mixup:alpha=1")
    numbers = augment.draw((parse_mix("mixup"),), 3, tf.constant(0, tf.int64), len(source))
    order = [int(row) for row, _ in source.shuffled(3, tf.constant(0, tf.int64))]
    for step, ((images, labels), (made, made_labels)) in enumerate(zip(plain, mixed, strict=True)):
        kept = beta(mixing.Mixup(alpha=1.0), numbers[order[6 * step], 1:3])
        np.testing.assert_allclose(
            made, kept * images + (1 - kept) * partners(images), atol=1e-4
        )
        np.testing.assert_allclose(
            made_labels, kept * labels + (1 - kept) * partners(labels), atol=1e-5
        )


@dataclasses.dataclass(frozen=True)
class Swap(mixing.Mix):
    """A way of one's own."""

    def __call__(self, images, labels, partners, partner_labels, kept, place):
        return partners, partner_labels


def test_a_way_of_ones_own():
    plain, swapped = (epochs(digits(), seed=3, mix=mix) for mix in ((), [Swap()]))
    for (images, labels), (others, other_labels) in zip(plain, swapped, strict=True):
        np.testing.assert_array_equal(partners(images), others)
        np.testing.assert_array_equal(partners(labels), other_labels)


@pytest.mark.parametrize("decoded", [True, False])
def test_repeats_show_copies_augmented_in_several_ways(decoded, tmp_path):
    if decoded:
        source = data.from_arrays(np.arange(41).repeat(16).reshape(41, 4, 4), range(41))
    else:
        for place in range(41):
            file = tmp_path / f"{place}.png"
            tf.io.write_file(
                str(file), tf.io.encode_png(np.full((4, 4 + place % 2, 3), place, np.uint8))
            )
        files = [tmp_path / f"{place}.png" for place in range(41)]
        source = data.from_files(files, range(41))
    channels = source.channels
    dataset = data.training_dataset(
        source, Preprocessing((0.0,) * channels, (1.0,) * channels), "cutout:size=2", 6, 1,
        image_size=(4, 4), labels="sparse", repeat=2, repeats=3,
    )
    assert len(dataset) == 12
    batches = list(dataset.as_numpy_iterator())
    for part in (batches[:6], batches[6:]):
        labels = np.concatenate([labels for _, labels in part])
        assert (labels.reshape(-1, 3) == labels[::3, None]).all()  # 36 of 41 examples
        assert len(set(labels)) == 12
        images = np.concatenate([images for images, _ in part])
        copies = images.reshape(12, 3, -1)
        assert (copies[:, 0] != copies[:, 1]).any(1).sum() >= 9
    assert set(batches[0][1]) != set(batches[6][1])


def test_repeats_of_a_streamed_source():
    from keras_resnets.data.streaming import StreamedSource

    data_of = tf.data.Dataset.from_tensor_slices(
        {"data": [tf.io.encode_png(np.full((4, 4, 1), k, np.uint8)).numpy() for k in range(10)],
         "label": np.arange(10)}
    )
    source = StreamedSource("streamed", tuple("abcdefghij"), 10, (4, 4, 1), data_of)
    arguments = dict(labels="sparse", repeats=4, seed=1)
    (_, one), (_, two) = epochs(source, batch_size=5, **arguments)
    labels = np.concatenate([one, two])
    assert (labels[:4] == labels[0]).all() and (labels[4:8] == labels[4]).all()
    assert len(set(labels)) == 3


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (dict(mix="mixup", labels="sparse"), "`labels` must be 'one_hot' with `mix`. Received: "),
        (dict(mix="mixed"), "`mix` must name ways"),
        (dict(repeats=0), "`repeats` must be a positive integer. Received: repeats=0"),
        (dict(repeats=2.5), "`repeats` must be a positive integer"),
    ],
)
def test_bad_arguments_in_one_line(arguments, message):
    with pytest.raises(UserError, match="^[^\n]+$") as error:
        epochs(digits(), **arguments)
    assert message in str(error.value)
