"""The one way in which images change their size."""

import tensorflow as tf

# By interpolation: TensorFlow's kernel, and half its width in pixels.
INTERPOLATIONS = {"bilinear": ("triangle", 1), "bicubic": ("keyscubic", 2)}
_LARGE = 2**22  # pixels between the two passes


def resize(images, size, interpolation="bilinear"):
    """Resizes images, antialiased where they shrink.

    Bilinear is torchvision's for tensors; bicubic is Pillow's, which clips to 0..255 what the
    kernel overshoots, between its two passes too.

    Args:
        images: Tensor in 0..255 `(height, width, channels)`, or with a batch axis in front.
        size: `(height, width)`, as numbers or as an integer tensor `(2,)`.
        interpolation: String, `"bilinear"` or `"bicubic"`. Defaults to `"bilinear"`.

    Returns:
        float32 tensor of the same rank.
    """
    if interpolation == "bilinear":
        # The antialiasing kernel gives the same where an image grows, ten times more slowly.
        if _is_growing(images, size):
            return tf.image.resize(images, tf.cast(size, tf.int32))
        return _antialias(images, size)
    return resize_window(images, size, (0, 0), size, interpolation)


def resize_window(images, size, offset, window, interpolation="bilinear"):
    """A window of the images resized to `size`, without making the rest of them.

    Of an image of 1x4000 pixels whose shorter side becomes 256, the other side becomes 1,024,000.
    Only those pixels are looked at that the window is made of.

    Args:
        images: As for `resize`.
        size: As for `resize`: of the whole resized images.
        offset: `(top, left)` of the window in them, numbers or an integer tensor. Where it is
            negative, and wherever else the window goes beyond the images, it is black.
        window: `(height, width)` of the window, numbers or an integer tensor.
        interpolation: As for `resize`.

    Returns:
        float32 tensor of the same rank.
    """
    if len(images.shape) == 3:
        return resize_window(images[None], size, offset, window, interpolation)[0]
    kernel, radius = INTERPOLATIONS[interpolation]
    size, offset, window = (tf.cast(pair, tf.int64) for pair in (size, offset, window))
    sides = tf.shape(images, tf.int64)[1:3]
    # In float64: coordinates of a long side do not fit into float32.
    scale = tf.cast(size, tf.float64) / tf.cast(sides, tf.float64)
    reach = radius * tf.maximum(1.0 / scale, 1.0) + 1.0
    first = tf.floor(tf.cast(offset, tf.float64) / scale - reach)
    first = tf.clip_by_value(tf.cast(first, tf.int64), 0, sides - 1)
    end = tf.math.ceil(tf.cast(offset + window, tf.float64) / scale + reach)
    end = tf.clip_by_value(tf.cast(end, tf.int64), first + 1, sides)
    shift = tf.cast(first, tf.float64) * scale - tf.cast(offset, tf.float64)
    resized = _scale_and_translate(
        images[:, first[0] : end[0], first[1] : end[1]],
        tf.cast(window, tf.int32),
        tf.cast(scale, tf.float32),
        tf.cast(shift, tf.float32),
        kernel,
    )
    static = tf.get_static_value(window)
    return tf.ensure_shape(resized, [None, *([None, None] if static is None else static), None])


def _antialias(images, size):
    """`tf.image.resize(images, size, antialias=True)`, bit for bit but for the longest strips."""
    if len(images.shape) == 3:
        return _antialias(images[None], size)[0]
    static = tf.get_static_value(tf.convert_to_tensor(size))
    size = tf.cast(size, tf.int32)
    scale = tf.cast(size, tf.float32) / tf.cast(tf.shape(images)[1:3], tf.float32)
    resized = _scale_and_translate(images, size, scale, tf.zeros(2), "triangle")
    sides = [None, None] if static is None else [int(side) for side in static]
    return tf.ensure_shape(resized, [images.shape[0], *sides, images.shape[-1]])


def _scale_and_translate(images, size, scale, shift, kernel):
    def heights(images):
        return _heights(images, size[0], scale[0], shift[0], kernel)

    def widths(images):
        turned = _heights(_turned(images), size[1], scale[1], shift[1], kernel)
        return _turned(turned)

    # Of the triangle heights first, as TensorFlow; else widths first, as Pillow where the aspect
    # ratio is kept.
    clip = tf.identity if kernel == "triangle" else _clip
    first, second = (heights, widths) if kernel == "triangle" else (widths, heights)
    tall, wide = tf.unstack(tf.cast(tf.shape(images)[1:3], tf.int64))
    between = tf.cast(size, tf.int64) * tf.stack([wide, tall])  # pixels after either
    between = between if kernel == "triangle" else between[::-1]
    return tf.cond(
        (between[0] > _LARGE) & (between[0] > between[1]),  # a long strip would take gigabytes
        lambda: clip(first(clip(second(images)))),
        lambda: clip(second(clip(first(images)))),
    )


def _heights(images, height, scale, shift, kernel):
    """ScaleAndTranslate of the heights alone.

    The operation adds whole rows fast, but columns pixel by pixel. Here the pixels of a row are
    channels of one column: with the images turned in between, both passes take a third of the time
    that the operation takes for both, and give the same.
    """
    batch, tall, wide, channels = tf.unstack(tf.shape(images))
    resized = tf.raw_ops.ScaleAndTranslate(
        images=tf.reshape(images, tf.stack([batch, tall, 1, wide * channels])),
        size=tf.stack([height, 1]),
        scale=tf.stack([scale, 1.0]),
        translation=tf.stack([shift, 0.0]),
        kernel_type=kernel,
        antialias=True,
    )
    return tf.reshape(resized, tf.stack([batch, height, wide, channels]))


def _turned(images):
    return tf.transpose(images, (0, 2, 1, 3))


def _clip(images):
    return tf.clip_by_value(images, 0.0, 255.0)


def _is_growing(images, size):
    """Whether it is known that no side gets smaller."""
    sides = images.shape[-3:-1]
    is_known = None not in sides and isinstance(size, tuple | list)
    return is_known and all(new >= old for new, old in zip(size, sides, strict=True))
