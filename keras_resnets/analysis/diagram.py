"""A network as a picture of its blocks: one row a stage, a box a block, an arc a shortcut."""

from pathlib import Path
from xml.sax.saxutils import escape, quoteattr

from keras_resnets.analysis.outline import (
    chain,
    fold,
    map_words,
    note,
    outline,
    parameter_words,
    paths_of,
    rate_range,
    sides_words,
    span,
)
from keras_resnets.checks import must
from keras_resnets.errors import UserError

WIDTH, LEFT, RIGHT = 960, 212, 24  # of the picture, of the texts at the side, of the margin
NARROWEST, WIDEST = 15, 84  # pitches of boxes
ROW, BOX, SMALL_ROW = 104, 34, 58
FOLDED = 4  # boxes' room for a run of equal blocks
PLAIN, DOWN, LINE, TEXT, PALE = "#0072B2", "#D55E00", "#444444", "#222222", "#aaaaaa"
FILLS = {PLAIN: "#cfe4f4", DOWN: "#fbdcc4"}
# Of each kind of line around a block: colour, dashes, what the legend says.
ARCS = {
    "identity": (LINE, "none", "identity shortcut, added"),
    "mean": ("#009E73", "none", "mean of the paths, added"),
    "projection": (DOWN, "5 2", "projection shortcut, added"),
    "zero padding": ("#CC79A7", "2 2", "zero-padded shortcut, added"),
    "other": ("#000000", "6 2 1 2", "shortcut of other layers, added"),
    "concatenated": ("#CC79A7", "4 2", "path that is concatenated"),
}


def diagram(network, path=None):
    """Draws a network as SVG, from its stem, stages and blocks.

    A row is a stage, with its channels, the size of its map and its stride at the side and the
    convolutions of its blocks below. A box is a block; blocks with a stride are of another colour
    and say it. An arc leads around a block where its branch is added to a shortcut; a second path
    has its line, and its arc, below. Where blocks may be left out, boxes are paler the less
    likely they survive. Equal blocks become one box, `× 199`, only where more follow each other
    than a row holds.

    Args:
        network: `Network`.
        path: Path of a file to write it to, ending in `.svg`. Defaults to none.

    Returns:
        String, the SVG. Each block is in a group `<g class="block" data-blocks="1">` with its name
        and wiring as a `<title>`, which browsers show on pointing.

    Raises:
        UserError: If `network` is no `Network`, or `path` does not end in `.svg`.
    """
    if not hasattr(network, "stages") or not hasattr(network, "blocks"):
        raise UserError(
            f"`network` must be a keras_resnets.Network. Received: {type(network).__name__}"
        )
    is_svg = path is None or str(path).lower().endswith(".svg")
    must("path", path, is_svg, "a file name that ends in .svg")
    picture = _Picture(network)
    if path is not None:
        Path(path).write_text(picture.svg, encoding="utf-8")
    return picture.svg


class _Picture:
    """The parts of one SVG, drawn from the top down.

    Attributes:
        svg: String.
    """

    def __init__(self, network):
        self._parts, self._lines, self._kinds, self._y = [], [], [], 62
        self._end = None  # where the last row's line ends
        size = parameter_words(network.count_params())
        title = f"{network.name}: {len(network.blocks)} blocks, {size}"
        self._text(20, 28, title, size=17, bold=True)
        image = sides_words(network.input.shape[1:])
        self._text(20, 47, f"images of {image}; family {network.family}", size=12)
        stem = chain(network.input, paths_of(network.stem.output))
        if stem:
            self._chips("stem", stem, [map_words(network.stem.output),
                                       f"stride {network.stem.stride}"])
        for stage in network.stages:
            self._stage(stage)
        head = chain(network.stages[-1].output, network.output)
        if head:
            self._chips("head", head, [])
        self._legend()
        self.svg = "\n".join([
            f'<svg xmlns="http://www.w3.org/2000/svg" width="{WIDTH}" height="{self._y}" '
            f'viewBox="0 0 {WIDTH} {self._y}" role="img" '
            'font-family="Helvetica, Arial, DejaVu Sans, sans-serif">',
            f"<title>{escape(title)}</title>",
            f'<rect width="{WIDTH}" height="{self._y}" fill="#ffffff"/>',
            *self._lines,
            *self._parts,
            "</svg>",
            "",
        ])

    def _stage(self, stage):
        blocks = [outline(block) for block in stage.blocks]
        room = WIDTH - LEFT - RIGHT
        boxes = list(fold(blocks, room // NARROWEST))
        below = any(len(box.shortcuts) > 1 or box.concatenated for box in boxes)
        middle = self._y + 32 + BOX / 2
        count = f"{len(blocks)} block{'s' if len(blocks) > 1 else ''}"
        self._side(stage.name, middle, [map_words(stage.output), f"stride {stage.stride}, {count}"])
        units = [FOLDED if len(box.names) > 1 else 1 for box in boxes]
        pitch = min(WIDEST, room / sum(units))
        self._enter(middle)
        x = LEFT
        for box, unit in zip(boxes, units, strict=True):
            self._box(box, x, pitch * unit, pitch, middle, below)
            x += pitch * unit
        words = note(blocks)
        self._text(LEFT, middle + BOX / 2 + (44 if below else 31), words, size=11)
        self._end = x, middle, max(x, LEFT + 6.0 * len(words))
        self._y += ROW + (13 if below else 0)

    def _box(self, box, x, room, pitch, middle, below):
        """One block, or a folded run of them, with its lines and arcs, in `room` from `x` on."""
        gap = max(5.0, pitch * 0.3)
        left, wide, top = x + gap / 2, room - gap, middle - BOX / 2
        colour = DOWN if box.stride > 1 else PLAIN
        words = [span(box.names), box.recipe]
        words += [f"stride {box.stride}"] if box.stride > 1 else []
        words += [f"{kind} shortcut" for kind in box.shortcuts]
        words += [f"survival {rate_range(box.survivals)}"] if min(box.survivals) < 1 else []
        self._parts.append(
            f'<g class="block" data-blocks="{len(box.names)}" data-stride="{box.stride}">'
            f"<title>{escape('; '.join(words))}</title>"
        )
        for offset in _offsets(box.paths):
            self._line([(x, middle + offset), (x + room, middle + offset)], LINE, self._parts)
        mean = sum(box.survivals) / len(box.survivals)
        for shift in (6, 3, 0) if len(box.names) > 1 else (0,):
            fill = _pale(FILLS[colour], mean)
            self._rectangle(left + shift, top + shift, wide - shift, BOX, fill, colour)
        arcs = [*box.shortcuts[:2], *["concatenated"] * box.concatenated]
        self._kinds += arcs
        for kind, sign in zip(arcs, (-1, 1), strict=False):
            self._arc(kind, x, room, middle, wide, sign, min(7, 7 * (box.paths - 1)))
        self._inside(box, left, wide, middle)
        self._parts.append("</g>")
        self._kinds.append("down" if box.stride > 1 else "box")
        self._kinds += ["survival"] * (mean < 1) + ["folded"] * (len(box.names) > 1)
        first, last = box.indices[0], box.indices[-1]
        if pitch >= 17 or first == 1 or first % 5 == 0:
            label = f"{first}" if first == last else f"{first} to {last}"
            y = middle + BOX / 2 + (28 if below else 13) + (3 if first != last else 0)
            self._text(left + wide / 2, y, label, size=9, anchor="middle")

    def _inside(self, box, left, wide, middle):
        if len(box.names) > 1:
            self._text(left + wide / 2 + 3, middle + 8, f"× {len(box.names)}", size=15,
                       anchor="middle", bold=True)
        elif box.columns:
            self._columns(box.columns, left, wide, middle)
        elif box.stride > 1:
            size = min(13, wide * 0.8)
            self._text(left + wide / 2, middle + size * 0.35, f"/{box.stride}", size=size,
                       anchor="middle", bold=True)

    def _columns(self, columns, left, wide, middle):
        """The columns of a fractal block: the first of one convolution, each twice the last."""
        pitch, top = wide / (columns + 1), middle - BOX / 2 + 3
        for column in range(columns):
            tall = (BOX - 6) / 2**column
            for number in range(2**column):
                self._rectangle(left + pitch * (column + 0.75), top + number * tall,
                                pitch * 0.5, max(tall - 1, tall * 0.6), PLAIN, "none")

    def _arc(self, kind, x, room, middle, wide, sign, offset):
        """A line around a box, above (sign -1) or below, to where its path goes on."""
        colour, dashes, _ = ARCS[kind]
        edge = middle + sign * (BOX / 2 + 2)
        top = edge + sign * (22 if sign < 0 else 14)
        middle += sign * offset
        end, dot = x + room, min(4.5, max(2.0, (room - wide) / 5))
        self._parts.append(
            f'<path class="shortcut" data-kind={quoteattr(kind)} fill="none" stroke="{colour}" '
            f'stroke-width="1.4" stroke-dasharray="{dashes}" d="M{x:.1f} {middle:.1f}'
            f'V{edge:.1f}C{x:.1f} {top:.1f} {end:.1f} {top:.1f} {end:.1f} {edge:.1f}'
            f'V{middle:.1f}"/>'
        )
        self._parts.append(
            f'<circle cx="{end:.1f}" cy="{middle:.1f}" r="{dot:.1f}" fill="#ffffff" '
            f'stroke="{LINE}"/>'
        )

    def _chips(self, name, words, side):
        """A row of layers, each in a frame of its own."""
        middle = self._y + SMALL_ROW / 2 - 6
        self._side(name, middle, side)
        self._enter(middle)
        x = LEFT + 4
        for word in words:
            wide = 6.2 * len(word) + 16
            self._rectangle(x, middle - 12, wide, 24, "#f2f2f2", "#777777")
            self._text(x + wide / 2, middle + 4, word, size=11, anchor="middle")
            self._line([(x - 6, middle), (x, middle)], LINE, self._parts)
            x += wide + 10
        self._end = x - 10, middle, x - 10
        self._y += SMALL_ROW

    def _enter(self, middle):
        """The line from the end of the row above to the start of this one."""
        if self._end is None:
            return
        x, y, right = self._end
        turn, right = self._y + 1, min(right + 10, WIDTH - 8)
        self._line(
            [(x, y), (right, y), (right, turn), (LEFT - 12, turn), (LEFT - 12, middle),
             (LEFT, middle)],
            PALE,
            self._lines,
        )

    def _side(self, name, middle, lines):
        self._text(20, middle - (7 if lines else -5), name, size=14, bold=True)
        for number, line in enumerate(lines):
            self._text(20, middle + 9 + 15 * number, line, size=11.5)

    def _legend(self):
        x, y = 20, self._y + 16
        entries = {
            "box": "block", "down": "block with a stride",
            **{kind: words for kind, (*_, words) in ARCS.items()},
            "folded": "equal blocks, each with its shortcut",
            "survival": "paler: less likely to survive",
        }
        for kind, words in entries.items():
            if kind not in self._kinds:
                continue
            room = 44 + 6.1 * len(words)
            if x + room > WIDTH - 10:
                x, y = 20, y + 22
            if kind in ARCS:
                colour, dashes, _ = ARCS[kind]
                self._line([(x, y), (x + 24, y)], colour, self._parts, dashes)
            elif kind == "folded":
                self._text(x + 12, y + 4, "× n", size=12, anchor="middle", bold=True)
            else:
                colour = DOWN if kind == "down" else PLAIN
                fill = _pale(FILLS[colour], 0.5 if kind == "survival" else 1)
                self._rectangle(x + 4, y - 7, 14, 14, fill, colour)
            self._text(x + 30, y + 4, words, size=11)
            x += room
        self._y = round(y + 20)

    def _rectangle(self, x, y, wide, tall, fill, stroke):
        self._parts.append(
            f'<rect x="{x:.1f}" y="{y:.1f}" width="{wide:.1f}" height="{tall:.1f}" rx="2" '
            f'fill="{fill}" stroke="{stroke}"/>'
        )

    def _line(self, points, colour, where, dashes="none"):
        places = " ".join(f"{x:.1f},{y:.1f}" for x, y in points)
        where.append(
            f'<polyline points="{places}" fill="none" stroke="{colour}" stroke-width="1.3" '
            f'stroke-dasharray="{dashes}"/>'
        )

    def _text(self, x, y, words, size, anchor="start", bold=False):
        weight = ' font-weight="bold"' if bold else ""
        self._parts.append(
            f'<text x="{x:.1f}" y="{y:.1f}" font-size="{size:.3g}" fill="{TEXT}" '
            f'text-anchor="{anchor}"{weight}>{escape(words)}</text>'
        )


def _offsets(paths):
    """Where the lines of so many paths lie, from the middle of the box."""
    if paths == 1:
        return (0,)
    shown = min(paths, 4)
    return tuple(-7 + 14 * number / (shown - 1) for number in range(shown))


def _pale(colour, survival):
    """A fill, mixed with white the more the less likely a block survives."""
    share = survival**2  # rates below 0.5 are rare
    levels = (int(colour[place : place + 2], 16) for place in (1, 3, 5))
    return "#" + "".join(f"{round(255 - share * (255 - level)):02x}" for level in levels)
