"""``kernel pools`` speaks the words of the feature comparison, from what the pools declare."""

from __future__ import annotations

import json
import subprocess
from collections.abc import Callable

import pytest

from worker_kernel.capabilities import OPTIONS, Capabilities, Fitness, Support
from worker_kernel.cli.pools import FEATURES, features

Run = Callable[..., "subprocess.CompletedProcess[str]"]
NATIVE, EMULATED = Support.NATIVE, Support.EMULATED

PREFORK = Capabilities(
    true_parallelism=True,
    cpu_bound=Fitness.EXCELLENT,
    io_bound=Fitness.GOOD,
    memory_efficiency="Moderate",
    concurrency_scale="10s-100s",
    process_isolation=True,
    windows=True,
    concurrency=NATIVE,
    soft_time_limit=NATIVE,
    time_limit=NATIVE,
    resize=NATIVE,
)
GEVENT = Capabilities(
    io_bound=Fitness.EXCELLENT, concurrency_scale="1000s", concurrency=NATIVE, soft_time_limit=NATIVE, is_green=True
)
SOLO = Capabilities(windows=True, debugging="Easy", soft_time_limit=NATIVE, time_limit=EMULATED)
THREADS = Capabilities(
    io_bound=Fitness.GOOD,
    concurrency_scale="10s",
    windows=True,
    debugging="Moderate",
    concurrency=NATIVE,
    time_limit=NATIVE,
)


@pytest.mark.parametrize(
    ("capabilities", "words"),
    [
        (PREFORK, "✓|Excellent|Good|Moderate|10s-100s|Hard+Soft|✓|✓|✓|Harder"),
        (GEVENT, "✗|Poor|Excellent|High|1000s|Soft only|✗|✗|✗|Harder"),
        (SOLO, "✗|Poor|Poor|High|1|Hard+Soft|✗|✗|✓|Easy"),
        (THREADS, "✗ (GIL)|Poor|Good|High|10s|Hard only|✗|✗|✓|Moderate"),
        (Capabilities(), "✗|Poor|Poor|High|1|None|✗|✗|✗|Harder"),
    ],
)
def test_the_rows_have_the_words_of_the_feature_comparison(capabilities: Capabilities, words: str) -> None:
    assert tuple(features(capabilities)) == FEATURES
    assert list(features(capabilities).values()) == words.split("|")


def test_the_installed_pools_stand_side_by_side(run: Run) -> None:
    lines = run("pools", PYTHONIOENCODING="utf-8").stdout.splitlines()
    head = lines[0].split()
    assert head[0] == "FEATURE"
    assert {"solo", "threads"} <= set(head[1:])
    assert [line.split("  ")[0] for line in lines[1:11]] == list(FEATURES)
    assert lines[12].split()[0] == "OPTION"
    end = lines.index("", 13)
    rows = {line.split()[0]: line.split()[1:] for line in lines[13:end]}
    assert list(rows) == list(OPTIONS)
    assert all(set(cells) <= {"native", "emulated", "refused"} for cells in rows.values())
    summaries = dict(line.split(maxsplit=1) for line in lines[end + 2 :])
    assert set(summaries) == set(head[1:])


def test_a_terminal_without_the_marks_gets_words(run: Run) -> None:
    done = run("pools", PYTHONIOENCODING="ascii")
    assert done.returncode == 0
    assert "no (GIL)" in done.stdout


def test_the_json_has_everything_that_is_declared(run: Run) -> None:
    document = json.loads(run("pools", "--json").stdout)
    assert set(document) == {"schema", "kernel", "pools"}
    for pool in document["pools"]:
        assert list(pool) == ["name", "class", "summary", "features", "options", "capabilities", "hosted"]
        assert list(pool["features"]) == list(FEATURES)
        assert list(pool["options"]) == list(OPTIONS)
        assert pool["capabilities"]["hard_effects"]


def test_with_processes_the_pools_can_what_processes_can(run: Run) -> None:
    pytest.importorskip("worker_pool_prefork")
    documents = {pool["name"]: pool for pool in json.loads(run("pools", "--json").stdout)["pools"]}
    assert documents["threads"]["options"]["processes"] == "emulated"
    assert documents["threads"]["options"]["memory_limit"] == "refused"
    assert documents["threads"]["hosted"]["options"]["memory_limit"] == "native"
    assert documents["prefork"]["hosted"]["features"] == documents["prefork"]["features"]
    assert documents["solo"]["hosted"]["features"] == documents["prefork"]["features"] | {"Autoscaling": "✗"}
    lines = run("pools", "--hosted", PYTHONIOENCODING="utf-8").stdout.splitlines()
    assert lines[1].split() == ["True", "Parallelism", *("✓" for _ in lines[0].split()[1:])]


def test_without_a_pool_that_hosts_processes_stay_refused(run: Run) -> None:
    document = json.loads(run("pools", "--json", KERNEL_PLUGINS="-prefork").stdout)
    assert all(pool["hosted"] is None and pool["options"]["processes"] == "refused" for pool in document["pools"])
    assert "pip install worker-pool-prefork" in run("pools", "--hosted", KERNEL_PLUGINS="-prefork").stdout
