"""scripts/benchmark.py --suite=inference: its ratios by hand, and a turn of it for real."""

import json
import pathlib
import sys

import processes
import pytest

SCRIPTS = pathlib.Path(__file__).parents[1] / "scripts"

RATIOS = """
import json, sys
sys.path.insert(0, {scripts!r})
import benchmark_inference as suite

times = {{
    ("saved_model", "float32"): (2.0, 4.0, 3.0),
    ("saved_model", "bfloat16"): (1.0, 1.0, 1.0),
    ("openvino", "int8"): (1.0, 1.0, 2.0),
    ("keras.applications", "float32"): (3.0, 4.0, 9.0),
}}
rows = suite.compared(times, batch=6)
assert "1.50x keras.applications, float32" in suite.printed(rows[0])
print(json.dumps(rows))
"""


def test_ratios_are_medians_of_neighbouring_steps(tmp_path):
    code = RATIOS.format(scripts=str(SCRIPTS))
    done = processes.run([sys.executable, "-c", code], cwd=tmp_path)
    assert done.returncode == 0, done.stderr
    ours, half, int8, theirs = json.loads(done.stdout)
    assert (ours["milliseconds"], ours["images_per_second"]) == (3000, 2)
    assert ours["keras.applications, float32"] == 1.5  # of 1.5, 1 and 3
    assert half["keras.applications, float32"] == 4
    assert int8["saved_model, float32"] == 2
    assert not any("," in key for key in theirs)


@pytest.mark.slow
def test_a_turn_for_real(tmp_path):
    arguments = ["--suite=inference", "--cases=keras_applications", "--precisions=float32",
                 "--batch=1", "--steps=1", "--warmup=1", "--json=rows.json"]
    done = processes.run(
        [sys.executable, SCRIPTS / "benchmark.py", *arguments], cwd=tmp_path, timeout=1200
    )
    assert done.returncode == 0, done.stderr
    rows = json.loads((tmp_path / "rows.json").read_text())["rows"]
    assert {"saved_model", "keras.applications"} <= {row["side"] for row in rows}
    assert all(row["images_per_second"] > 0 for row in rows)
    assert "written: rows.json" in done.stdout
