"""Which files are images, and where they are found."""

import os

import pytest

from keras_resnets.images import image_files, is_image, printable, subfolders


def touch(root, *names):
    for name in names:
        path = root / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.touch()


def found(root, *folders):
    """The images below some folders, relative to each."""
    paths = [root / folder for folder in folders]
    lists = image_files(paths)
    return [[os.path.relpath(file, path) for file in files]
            for path, files in zip(paths, lists, strict=True)]


def test_files_of_a_folder_come_before_those_below(tmp_path):
    touch(tmp_path, "z.png", "A.jpg", "b/c.png", "b/a/x.gif", ".h.png", ".cache/x.png", "n.txt")
    assert found(tmp_path, ".") == [["A.jpg", "z.png", "b/c.png", "b/a/x.gif"]]
    assert subfolders(tmp_path) == ["b"]


def test_loops_of_links_have_an_end(tmp_path):
    touch(tmp_path, "a/1.png", "a/deep/2.png", "b/3.png")
    (tmp_path / "a" / "self").symlink_to(tmp_path / "a")
    (tmp_path / "a" / "up").symlink_to("..")
    (tmp_path / "a" / "deep" / "up").symlink_to("../..")
    (tmp_path / "b" / "other").symlink_to("../a")
    (tmp_path / "b" / "circle").symlink_to("circle")
    assert found(tmp_path, "a", "b") == [["1.png", "deep/2.png"], ["3.png"]]


def test_a_linked_folder_counts_once(tmp_path):
    touch(tmp_path, "a/1.png", "b/2.png", "elsewhere/3.png", "elsewhere/below/4.png")
    for link in ("a/first", "a/second", "b/third"):
        (tmp_path / link).symlink_to(tmp_path / "elsewhere")
    (tmp_path / "a" / "below").symlink_to(tmp_path / "elsewhere" / "below")
    assert found(tmp_path, "a", "b") == [["1.png", "below/4.png", "first/3.png"], ["2.png"]]


def test_without_a_link_goes_first(tmp_path):
    touch(tmp_path, "a/1.png", "b/2.png", "b/deep/3.png")
    (tmp_path / "a" / "link").symlink_to(tmp_path / "b" / "deep")
    assert found(tmp_path, "a", "b") == [["1.png"], ["2.png", "deep/3.png"]]


def test_a_folder_within_another_counts_for_itself(tmp_path):
    touch(tmp_path, "a/1.png", "a/deep/2.png", "b/3.png")
    (tmp_path / "all").symlink_to(".")
    (tmp_path / "deep").symlink_to("a/deep")
    assert found(tmp_path, "a", "all", "b", "deep") == [["1.png"], [], ["3.png"], ["2.png"]]


def test_two_classes_cannot_be_one_folder(tmp_path):
    touch(tmp_path, "a/1.png")
    (tmp_path / "b").symlink_to("a")
    with pytest.raises(ValueError, match="/a and .*/b are the same folder$"):
        found(tmp_path, "a", "b")


def test_a_folder_that_cannot_be_read_is_named(tmp_path, monkeypatch):
    touch(tmp_path, "a/1.png", "a/closed/2.png")
    scandir = os.scandir

    def refuse(path):
        if os.fspath(path).endswith("closed"):
            raise PermissionError(13, "Permission denied", path)
        return scandir(path)

    monkeypatch.setattr(os, "scandir", refuse)  # a chmod does not stop root
    with pytest.raises(PermissionError, match="^Cannot read the folder .*/a/closed: Permission"):
        found(tmp_path, "a")


def test_a_pipe_is_no_image(tmp_path):
    os.mkfifo(tmp_path / "pipe.jpg")
    os.mkfifo(tmp_path / "pipe")
    assert not is_image(tmp_path / "pipe.jpg") and not is_image(tmp_path / "pipe")
    (tmp_path / "link.jpg").symlink_to("nowhere")
    assert is_image(tmp_path / "link.jpg")  # broken, not to be overlooked


def test_names_that_are_no_text():
    assert printable("/a/é.png") == "/a/é.png"
    assert printable(os.fsdecode(b"/a/caf\xe9.png")) == r"/a/caf\xe9.png"
