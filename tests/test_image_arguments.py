"""Which image files arguments mean."""

import io
import os

import pytest
from PIL import Image

from keras_resnets import UserError
from keras_resnets.serving.image_arguments import find_images


def encode(form="PNG"):
    file = io.BytesIO()
    Image.new("RGB", (12, 9), (250, 5, 5)).save(file, form)
    return file.getvalue()


@pytest.fixture
def folder(tmp_path):
    """Images by content, suffix and place, and what is none."""
    root = tmp_path / "photos"
    (root / "more").mkdir(parents=True)
    (root / ".cache").mkdir()
    (root / "a.png").write_bytes(encode())
    (root / "B.JPG").write_bytes(encode("JPEG"))
    (root / "c").write_bytes(encode("BMP"))
    (root / "more" / "d.Gif").write_bytes(encode("GIF"))
    (root / ".hidden.png").write_bytes(encode())
    (root / ".cache" / "e.png").write_bytes(encode())
    (root / "notes.txt").write_text("BMW drivers read this, which is no bitmap at all.")
    return root


def names(files, root):
    return [os.path.relpath(file, root) for file in files]


def test_images_of_a_folder(folder):
    found = find_images([str(folder)])
    assert names(found, folder) == ["B.JPG", "a.png", "c", "more/d.Gif"]


def test_images_of_a_pattern(folder):
    assert names(find_images([f"{folder}/[aB].*"]), folder) == ["B.JPG", "a.png"]
    found = find_images([f"{folder}/*"])
    assert names(found, folder) == ["B.JPG", "a.png", "c", "more/d.Gif"]
    found = find_images([f"{folder}/**"])
    assert sorted(names(found, folder)) == ["B.JPG", "a.png", "c", "more/d.Gif"]


@pytest.mark.parametrize(
    ("pattern", "expected"),
    [
        ("photos/**/*.[pG]*", ["a.png", "more/d.Gif"]),
        ("photos/**/more", ["more/d.Gif"]),
        ("photos/**/c", ["c"]),
        ("p*s/**/**", ["B.JPG", "a.png", "c", "more/d.Gif"]),
        ("**/a.*", ["a.png"]),
        ("photos/more**", ["more/d.Gif"]),
    ],
)
def test_patterns_of_any_depth(pattern, expected, folder, monkeypatch):
    monkeypatch.chdir(folder.parent)
    assert names(find_images([pattern]), "photos") == expected


def test_named_files_are_taken_as_they_are(folder):
    files = [str(folder / name) for name in ("notes.txt", ".hidden.png", "a.png", "a.png")]
    assert find_images(files) == files


def test_a_name_that_looks_like_a_pattern(tmp_path):
    path = tmp_path / "a[1].png"
    path.write_bytes(encode())
    assert find_images([str(path)]) == [str(path)]


def test_a_zero_byte_is_refused_in_one_line():
    with pytest.raises(UserError, match=r"without zero bytes.*Received: 'a\\x00b'$"):
        find_images(["a\0b"])


def test_links_are_followed_once(folder):
    (folder / "more" / "all").symlink_to(folder)
    (folder / "z").symlink_to(folder / "more")
    for arguments in ([folder], [f"{folder}/**"], [f"{folder}/*"]):
        found = names(find_images(arguments), folder)
        assert sorted(found) == ["B.JPG", "a.png", "c", "more/d.Gif"]


def test_a_pipe_is_not_waited_for(folder):
    os.mkfifo(folder / "pipe.jpg")
    with pytest.raises(FileNotFoundError, match="No image in .*pipe.jpg"):
        find_images([folder / "pipe.jpg"])


@pytest.mark.parametrize("argument", ["missing.png", "photos/*.tiff", "photos/n*", "empty"])
def test_nothing_found(argument, folder, monkeypatch):
    monkeypatch.chdir(folder.parent)
    os.mkdir("empty")
    with pytest.raises(FileNotFoundError) as caught:
        find_images(["photos/a.png", argument])
    assert argument in str(caught.value)
