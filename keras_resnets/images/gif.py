"""The first frame of a GIF file, found without decoding any.

TensorFlow decodes every frame, also where it gives back one: a file of a few megabytes can hold
thousands, of any size within or beyond the screen that the header declares.
"""

import tensorflow as tf

_HEADER, _DESCRIPTOR = 13, 10  # bytes, colour tables not counted
_EXTENSION, _FRAME = 0x21, 0x2C
_TOGETHER = 4096  # blocks
# A file that needs more is no writer's, and would cost seconds: it is taken for a broken one.
_MOST_EXTENSIONS, _MOST_STEPS = 100, 1000


@tf.function(input_signature=[tf.TensorSpec((), tf.string)], autograph=False)
def first_frame(data):
    """Where the first frame is. Traced once, not in every graph that decodes.

    Args:
        data: Scalar string tensor, the bytes of a GIF file.

    Returns:
        Tuple of the number of bytes up to its end, an int32 scalar, 0 if the file ends before that;
        and its `(height, width)`, int64, zeros if there is no frame.
    """
    data = tf.cast(tf.io.decode_raw(data, tf.uint8), tf.int32)
    length = tf.size(data)

    def byte(place):
        return data[tf.minimum(place, length - 1)]

    def table(place):
        """The length of the colour table that a byte of flags tells of."""
        return tf.where(byte(place) >= 128, 3 * 2 ** (byte(place) % 8 + 1), 0)

    start, _ = tf.while_loop(
        lambda place, count: (byte(place) == _EXTENSION) & (count < _MOST_EXTENSIONS),
        lambda place, count: (_end_of_data(data, place + 2), count + 1),
        (_HEADER + table(10), 0),
    )
    width, height = (byte(start + at) + 256 * byte(start + at + 1) for at in (5, 7))
    after = _end_of_data(data, start + _DESCRIPTOR + table(start + _DESCRIPTOR - 1) + 1)
    is_frame = (start + _DESCRIPTOR < length) & (byte(start) == _FRAME)
    is_whole = is_frame & (after <= length)
    sides = tf.where(is_frame, tf.stack([height, width]), 0)
    return tf.where(is_whole, after, 0), tf.cast(sides, tf.int64)


def only_first_frame(data):
    """The file without what is behind the first frame; nothing if that one is not whole."""
    end, _ = first_frame(data)
    return tf.strings.substr(data, 0, end) + b";"


def _end_of_data(data, place):
    """The place behind data that begin here, beyond the file if they have no end in it.

    Data are blocks, each a byte that is its length and so many bytes; a block of length 0 ends
    them. Writers make all but the last equally long: those are stepped over together.
    """
    limit = tf.size(data)

    def step(place, count):
        length = data[place]
        lengths = data[place : place + _TOGETHER * (length + 1) : length + 1]
        others = tf.where(lengths != length)[:, 0]
        equal = tf.concat([others, [tf.size(lengths, tf.int64)]], 0)[0]
        return place + tf.cast(equal, tf.int32) * (length + 1), count + 1

    def goes_on(place, count):
        return (place < limit) & (data[tf.minimum(place, limit - 1)] > 0) & (count < _MOST_STEPS)

    place, count = tf.while_loop(goes_on, step, (place, 0))
    return tf.where(count < _MOST_STEPS, place, limit) + 1
