"""Diagrams: valid XML, a box a block, and what the rows say, for networks of all families."""

import collections
import xml.etree.ElementTree as ET

import keras
import pytest
from test_models_records import NETS, WITH_SURVIVAL, build

from keras_resnets import UserError, create_model
from keras_resnets.analysis import diagram

SVG = "{http://www.w3.org/2000/svg}"


def parsed(network):
    return ET.fromstring(diagram(network))


def boxes_of(root):
    return [group for group in root.iter(f"{SVG}g") if group.get("class") == "block"]


def arcs_of(root):
    """How many lines of each kind lead around blocks."""
    return collections.Counter(
        path.get("data-kind") for path in root.iter(f"{SVG}path")
        if path.get("class") == "shortcut"
    )


def texts_of(root):
    return [text.text for text in root.iter(f"{SVG}text")]


@pytest.mark.parametrize("name", NETS)
def test_a_box_a_block(name):
    net = build(name)
    root = parsed(net)
    boxes = boxes_of(root)
    assert [int(box.get("data-blocks")) for box in boxes] == [1] * len(net.blocks)
    titles = [box.find(f"{SVG}title").text for box in boxes]
    assert [title.split(";")[0] for title in titles] == [block.name for block in net.blocks]
    assert [int(box.get("data-stride")) for box in boxes] == [b.stride for b in net.blocks]
    texts = texts_of(root)
    assert [stage.name for stage in net.stages] == [t for t in texts if t.startswith("stage")]
    for stage in net.stages:
        words = f"stride {stage.stride}, {len(stage.blocks)} block"
        assert any(text.startswith(words) for text in texts)
    assert len(texts) == len([text for text in texts if text])


@pytest.mark.parametrize(
    ("name", "expected"),
    [
        ("cifar", {"identity": 4, "zero padding": 2}),
        ("cifar V2", {"identity": 4, "projection": 2}),
        ("cifar conv", {"projection": 6}),
        ("plain", {}),
        ("resnet bottleneck", {"identity": 12, "projection": 4}),
        ("wide", {"identity": 3, "projection": 3}),
        # two paths: one adds, the other concatenates
        ("dpn", {"projection": 2, "identity": 1, "concatenated": 3}),
        ("fractalnet", {}),
        # two paths each, but the last block adds both branches to one line
        ("cross", {"mean": 7, "projection": 4}),
        ("half", {"identity": 1, "projection": 2}),
        ("side", {}),
    ],
)
def test_arcs(name, expected):
    net = build(name)
    if name == "cifar V2":
        net = build(name, shortcut="B")
    assert arcs_of(parsed(net)) == expected


def test_what_the_side_and_the_recipe_say():
    net = create_model("resnet50", num_classes=7)
    texts = texts_of(parsed(net))
    assert texts[0] == "resnet50: 16 blocks, 23.6 M parameters"
    assert texts[1] == "images of 224×224×3; family resnet"
    for words in ("7×7, 64, /2", "max-pool 3×3, /2", "average pool", "dense 7"):
        assert words in texts
    assert "1024 channels, 14×14" in texts and "stride 16, 6 blocks" in texts
    assert "block: 1×1, 256 → 3×3, 256 → 1×1, 1024" in texts
    grouped = texts_of(parsed(create_model("resnext50_32x4d")))
    assert "block: 1×1, 128 → 3×3, 128 in 32 groups → 1×1, 256" in grouped
    paths = texts_of(parsed(build("dpn")))
    assert "32 + 16 channels, 16×16" in paths


def test_fractal_columns():
    net = build("fractalnet")
    root = parsed(net)
    texts = texts_of(root)
    assert "stem" not in texts
    assert any("7 convolutions 3×3" in text and "in 3 columns" in text for text in texts)
    # in each box itself and 1 + 2 + 4 convolutions
    assert {len(list(box.iter(f"{SVG}rect"))) for box in boxes_of(root)} == {8}


def test_a_fractal_net_without_drop_path():
    net = create_model("fractalnet5", input_shape=(32, 32, 1), width=2, drop_path=0)
    assert len(boxes_of(parsed(net))) == len(net.blocks)


@pytest.mark.parametrize("name", WITH_SURVIVAL)
def test_survival(name):
    net = build(name, survival=0.5)
    root = parsed(net)
    titles = [box.find(f"{SVG}title").text for box in boxes_of(root)]
    rates = [float(title.partition("survival ")[2] or 1) for title in titles]
    merges = [
        min((branch.merge.survival for branch in block.branches), default=1) for block in net.blocks
    ]
    assert rates == pytest.approx(merges, rel=5e-3)
    texts = texts_of(root)
    assert any("survival" in text and f"{min(merges):.3g}" in text for text in texts)
    assert "paler: less likely to survive" in texts
    assert "paler: less likely to survive" not in texts_of(parsed(build(name)))


def test_equal_blocks_fold_only_where_they_do_not_fit():
    net = create_model("resnet_cifar", depth=302, width=2, input_shape=(8, 8, 3))
    root = parsed(net)
    assert [int(box.get("data-blocks")) for box in boxes_of(root)] == [50, 1, 49, 1, 49]
    assert [text for text in texts_of(root) if text.startswith("× ")] == [
        "× 50", "× 49", "× 49", "× n"
    ]
    net = create_model("resnet_cifar", depth=218, width=2, input_shape=(8, 8, 3))
    assert len(boxes_of(parsed(net))) == 108
    assert arcs_of(parsed(net))["identity"] == 106


def test_everything_lies_on_the_page():
    for name in ("resnet bottleneck", "dpn", "cross"):
        root = parsed(build(name))
        width, height = float(root.get("width")), float(root.get("height"))
        assert root.get("viewBox") == f"0 0 {width:.0f} {height:.0f}" and width <= 1000
        for text in root.iter(f"{SVG}text"):
            assert 0 <= float(text.get("x")) < width and 0 < float(text.get("y")) < height
        for box in root.iter(f"{SVG}rect"):
            assert float(box.get("x", 0)) + float(box.get("width")) <= width
            assert float(box.get("y", 0)) + float(box.get("height")) <= height


def test_any_size_no_top_and_names_that_are_markup(tmp_path):
    net = create_model("resnet_cifar", depth=8, width=4, input_shape=(None, None, 1),
                       include_top=False, name="a_net")
    net.name = "<a & b>"
    text = diagram(net, tmp_path / "net.svg")
    assert (tmp_path / "net.svg").read_text(encoding="utf-8") == text
    texts = texts_of(ET.fromstring(text))
    assert texts[0].startswith("<a & b>: 3 blocks")
    assert texts[1].startswith("images of any×any×1") and "head" not in texts
    assert "8 channels" in texts


@pytest.mark.parametrize(
    ("network", "path", "words"),
    [
        (None, None, "`network` must be a keras_resnets.Network. Received: NoneType"),
        (keras.Sequential(), None, "Received: Sequential"),
        ("net", "net.png", "ends in .svg"),
    ],
)
def test_mistakes(network, path, words):
    network = build("cifar") if network == "net" else network
    with pytest.raises(UserError, match=words):
        diagram(network, path)
