"""From measurements to the figures that are reported."""

import json

import pytest
import report
from bench import parts
from measure import Taken


def test_the_exponent_is_that_of_a_power_law():
    views = [1e5, 3e5, 1e6, 3e6]
    assert report.exponent(views, [7e-5 * v**1.1 for v in views]) == pytest.approx(1.1)
    assert report.exponent(views, [5, 5, 5, 5]) == pytest.approx(0)


def test_a_build_is_the_sum_of_its_parts(tmp_path):
    """label_lists feeds the samples of both variants; `lists` is needed by no final table."""
    took = {
        "model.aigq.label_lists": 3.0,
        "model.aigq.samples_direct": 2.0,
        "model.aigq.samples_think": 4.0,
        "model.aigq.lists": 5.0,
        "test.aigq.unique_label_lists": 1.0,
        "unit_test.aigq.samples_direct.a": 0.5,
        "operation.aigq.on-run-start-0": 0.25,
    }
    results = [{"unique_id": node, "execution_time": seconds} for node, seconds in took.items()]
    parents = {
        "model.aigq.samples_direct": ["model.aigq.label_lists"],
        "model.aigq.samples_think": ["model.aigq.label_lists"],
        "model.aigq.lists": ["model.aigq.samples_direct"],
    }
    (tmp_path / "run_results.json").write_text(json.dumps({"results": results}))
    (tmp_path / "manifest.json").write_text(json.dumps({"parent_map": parents}))
    assert parts(tmp_path, 20.0) == {
        "needed models": 9.0,
        "other models": 5.0,
        "tests": 1.5,
        "dbt itself": 4.5,
        "Direct samples": 5.0,
    }


def test_medians_and_ratios_within_a_repetition(tmp_path):
    """The machine is slow in the third repetition: its ratio is like the others'."""
    seconds = {
        report.FULL: (20, 22, 100),
        report.SCRIPT: (10, 10, 50),
        "dbt build, one more day": (5, 6, 30),
        report.POLARS: (4, 4, 4),
        "ingest, all days but one": (2, 2, 2),
        "ingest, one more day": (1, 1, 1),
        report.SIMULATE: (3,),
    }
    size = {
        "page_views": 1000,
        "repetitions": 3,
        "cores": 2,
        "memory_gb": 12.0,
        "taken": {
            name: [vars(Taken(s, 2.0 * s, s * 10**8)) for s in all_]
            for name, all_ in seconds.items()
        },
        "parts": {
            "needed models": 11.0,
            "other models": 5.0,
            "tests": 4.0,
            "dbt itself": 2.0,
            "Direct samples": 6.0,
        },
    }
    report.write(tmp_path, [size, size | {"page_views": 2000}])
    text = (tmp_path / "bench.md").read_text()
    assert "| dbt build --full-refresh | 22.0 | 22.0 | 0.00 |" in text
    assert "| ... of the full build: tests | 4.0 (18%) | 4.0 (18%) | 0.00 |" in text
    assert "| full build / script | 2.00 | 2.00 |" in text
    assert "| ingest and full build / script | 2.50 | 2.50 |" in text
    assert "| models the final tables need / script | 1.10 | 1.10 |" in text
    assert "| models the Direct samples need / Polars | 1.50 | 1.50 |" in text
    assert "| one more day / full build | 0.27 | 0.27 |" in text
    assert "| dbt build --full-refresh | 10.00 GB, 44 s | 10.00 GB, 44 s |" in text

    # At the larger size the script ran out of memory.
    taken = {name: all_ for name, all_ in size["taken"].items() if name != report.SCRIPT}
    larger = size | {"page_views": 2000, "taken": taken}
    report.write(tmp_path, [size, larger])
    text = (tmp_path / "bench.md").read_text()
    assert "| hand-written script | 10.0 | out of memory | – |" in text
    assert "| full build / script | 2.00 | out of memory |" in text
    assert "| models the final tables need / script | 1.10 | out of memory |" in text
    assert "| hand-written script | 5.00 GB, 20 s | out of memory |" in text
    assert json.loads((tmp_path / "bench.json").read_text())["sizes"][0] == size
