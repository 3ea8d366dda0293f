"""Operations that move whole pixels, several of them at the cost of one."""

import tensorflow as tf


class View:
    """A batch of images of which it is known, and not yet done, where each pixel comes from.

    Rows and columns are moved independently, so that a crop after a flip after a shift is a list of
    rows and a list of columns for each image: the pixels are copied once, whatever their number.
    Rectangles painted before a move move with it.

    Args:
        images: Tensor `(batch, height, width, channels)`.
    """

    def __init__(self, images):
        self._images = images
        self._places = None  # of rows and of columns in `images`, -1 where it is black
        self._has_black = False
        self._flipped = None  # booleans, where nothing but a flip was asked for
        self._painted = []  # pairs of booleans, which rows and which columns
        self._colour = None

    @property
    def sides(self):
        """Height and width, ints where they are known."""
        static = self._images.shape[1:3]
        dynamic = tf.unstack(tf.shape(self._images)[1:3])
        return [late if side is None else side for side, late in zip(static, dynamic, strict=True)]

    def move(self, rows, columns, has_black=True):
        """Takes other pixels.

        Args:
            rows: int32 `(batch, height)`, which row each row is taken from. One beyond the image
                is black.
            columns: int32 `(batch, width)`, likewise.
            has_black: Boolean. Whether any can be beyond the image. Defaults to `True`.
        """
        self._flipped = None
        moves = rows, columns
        if has_black:
            moves = [
                tf.where((move >= 0) & (move < side), move, -1)
                for move, side in zip(moves, self.sides, strict=True)
            ]
        self._has_black |= has_black
        if self._places is None:
            self._places = list(moves)
        else:
            pairs = zip(self._places, moves, strict=True)
            self._places = [_take(places, move, -1) for places, move in pairs]
        self._painted = [
            [_take(marks, move, False) for marks, move in zip(pair, moves, strict=True)]
            for pair in self._painted
        ]

    def flip(self, chosen):
        """Mirrors some images left and right.

        Args:
            chosen: Booleans `(batch,)`.
        """
        tall, wide = self.sides
        is_first = self._places is None
        rows = tf.repeat(tf.range(tall)[None], tf.size(chosen), axis=0)
        columns = tf.where(chosen[:, None], wide - 1 - tf.range(wide), tf.range(wide))
        self.move(rows, columns, has_black=False)
        self._flipped = chosen if is_first else None

    def paint(self, rows, columns, colour):
        """Fills the pixels of the chosen rows and columns; images become float32.

        Args:
            rows: Booleans `(batch, height)`.
            columns: Booleans `(batch, width)`.
            colour: Sequence of floats in 0..255, one a channel, the same each time.
        """
        self._painted.append([rows, columns])
        self._colour = colour

    def pixels(self):
        """The images `(batch, height, width, channels)` as they are now."""
        images = self._images
        if self._flipped is not None:
            images = _flip(images, self._flipped)
        elif self._places is not None:
            images = self._moved()
        return self._filled(images) if self._painted else images

    def _moved(self):
        images, (rows, columns) = self._images, self._places
        batch, tall, wide, channels = tf.unstack(tf.shape(images))
        if self._has_black:  # a row and a column for all that lies beyond
            images = tf.pad(images, [[0, 0], [0, 1], [0, 1], [0, 0]])
            rows, columns = tf.where(rows < 0, tall, rows), tf.where(columns < 0, wide, columns)
            tall, wide = tall + 1, wide + 1
        first = (tf.range(batch)[:, None] * tall + rows) * wide
        places = first[:, :, None] + columns[:, None, :]
        moved = tf.gather(tf.reshape(images, tf.stack([-1, channels])), places)
        return tf.ensure_shape(moved, self._images.shape)

    def _filled(self, images):
        channels = len(self._colour)
        masks = [
            rows[:, :, None] & tf.repeat(columns, channels, axis=1)[:, None, :]
            for rows, columns in self._painted
        ]
        mask = masks[0]
        for other in masks[1:]:
            mask |= other
        colour = tf.tile(tf.constant(self._colour, tf.float32), tf.shape(images)[2:3])
        pixels = tf.reshape(tf.cast(images, tf.float32), tf.shape(mask))
        filled = tf.reshape(tf.where(mask, colour, pixels), tf.shape(images))
        return tf.ensure_shape(filled, images.shape)


def _flip(images, chosen):
    """Mirrors the chosen ones; the others are only copied."""
    places = tf.where(chosen)
    mirrored = tf.reverse(tf.gather(images, places[:, 0]), [2])
    return tf.ensure_shape(tf.tensor_scatter_nd_update(images, places, mirrored), images.shape)


def _take(values, places, beyond):
    """Of each row the values at these places, `beyond` where a place is -1."""
    taken = tf.gather(values, tf.maximum(places, 0), batch_dims=1)
    return tf.where(places < 0, beyond, taken)
