"""The one way in which images change their size."""

import tensorflow as tf

# By interpolation: TensorFlow's kernel, and half its width in pixels.
INTERPOLATIONS = {"bilinear": ("triangle", 1), "bicubic": ("keyscubic", 2)}


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
        is_growing = _is_growing(images, size)
        return tf.image.resize(images, tf.cast(size, tf.int32), antialias=not is_growing)
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


def _scale_and_translate(images, size, scale, shift, kernel):
    def run(images, size, scale, shift):
        return tf.raw_ops.ScaleAndTranslate(
            images=images,
            size=tf.stack(size),
            scale=tf.stack(scale),
            translation=tf.stack(shift),
            kernel_type=kernel,
            antialias=True,
        )

    if kernel == "triangle":
        return run(images, size, scale, shift)
    # Widths first, as Pillow where the aspect ratio is kept.
    wide = run(images, (tf.shape(images)[1], size[1]), (1.0, scale[1]), (0.0, shift[1]))
    tall = run(_clip(wide), size, (scale[0], 1.0), (shift[0], 0.0))
    return _clip(tall)


def _clip(images):
    return tf.clip_by_value(images, 0.0, 255.0)


def _is_growing(images, size):
    """Whether it is known that no side gets smaller."""
    sides = images.shape[-3:-1]
    is_known = None not in sides and isinstance(size, tuple | list)
    return is_known and all(new >= old for new, old in zip(size, sides, strict=True))
