"""The benchmark of the input: turns, ratios and what another version cannot do."""

import importlib
import json
import sys

import numpy as np
import pytest
from absl.flags import FLAGS
from recipe_helpers import SCRIPTS


@pytest.fixture(scope="module")
def benchmark():
    """The modules benchmark_input and benchmark_input_worker, their flags at the defaults."""
    sys.path.insert(0, str(SCRIPTS))
    names = "benchmark_input", "benchmark_input_worker"
    modules = [importlib.import_module(name) for name in names]
    if not FLAGS.is_parsed():
        FLAGS.mark_as_parsed()
    yield modules
    sys.path.remove(str(SCRIPTS))


class Fake:
    """A worker with given answers; what it was asked for is kept."""

    def __init__(self, **rates):
        self._rates = {case: iter(values) for case, values in rates.items()}
        self.asked = []

    def ask(self, case, **_):
        self.asked.append(case)
        found = self._rates.get(case.replace(" ", "_"))
        return {"images_per_second": next(found)} if found else {"error": "No such API"}


def test_sides_take_turns_and_ratios_are_of_neighbours(benchmark):
    ours = Fake(crops=[1, 100, 300, 80], bare_crops=[1, 50, 100, 160])
    row = benchmark[0].in_turns("crops", {"this": ours, "other": Fake()}, "/x", 3, 1)
    assert ours.asked == ["crops", "bare crops"] * 4
    assert row["this_images_per_second"] == row["bare_images_per_second"] == 100
    assert row["against_bare"] == 2  # the median of 2, 3 and 0.5
    assert row["other_error"] == "No such API" and "against_other" not in row
    json.dumps(row)
    text = benchmark[0].printed(row)
    assert "other cannot be timed: No such API, bare 100 images/s (2.00x)" in text


def test_opening_is_timed_twice(benchmark, tmp_path):
    benchmark[0].write_small(tmp_path, 45)
    assert len(list(tmp_path.rglob("*.jpg"))) == 45
    worker = benchmark[1]
    answer = worker.answer({"case": "opening", "folder": str(tmp_path)}, {})
    assert answer["images"] == 45 and answer["seconds"] > 0
    answer = worker.answer({"case": "opening", "folder": str(tmp_path / "none")}, {})
    assert answer["error"].startswith("FileNotFoundError: There is no folder")


@pytest.mark.slow
def test_both_sides_make_the_same_of_the_same_files(benchmark, tmp_path, monkeypatch):
    """But for the DCT: TensorFlow's own choice is some grey levels away from libjpeg's."""
    monkeypatch.setattr(benchmark[0], "PHOTOS", 45)
    monkeypatch.setattr(benchmark[1], "EPOCHS", 1)
    benchmark[0].write_photos(tmp_path)
    worker, folder = benchmark[1], str(tmp_path)
    standardize = worker._preprocessing().standardize
    for name in ("crops", "evaluation"):
        ours = next(iter(worker.SIDES[name](name, folder)))[0].numpy()
        stream = iter(worker.SIDES[f"bare {name}"](name, folder))
        bare = standardize(np.concatenate([next(stream) for _ in range(2)])).numpy()
        assert ours.shape == (32, 224, 224, 3)
        few = bare[:, ::8, ::8]
        apart = [np.abs(few - image[::8, ::8]).mean((1, 2, 3)).min() for image in ours]
        assert max(apart) < 0.05, name


def test_rates(benchmark, monkeypatch):
    monkeypatch.setattr(benchmark[1], "SETTLE", 0.0)
    assert benchmark[1].rate([(np.zeros(7), None)] * 10**6, 0.01) > 0
