"""What control groups grant is read as the kernel writes it, in version 1 and 2, and from every group above."""

from __future__ import annotations

from pathlib import Path

import pytest

from worker_kernel.cgroups import MemoryBudget, Resources, read_resources

MB = 1 << 20
GB = 1 << 30
V2_MOUNT = "41 31 0:38 {top} /sys/fs/cgroup rw,relatime - cgroup2 cgroup2 rw,nsdelegate"
V1_MOUNTS = (
    "32 31 0:29 {top} /sys/fs/cgroup/cpu,cpuacct rw,relatime shared:9 - cgroup cgroup rw,cpu,cpuacct\n"
    "35 31 0:32 {top} /sys/fs/cgroup/memory rw,relatime - cgroup cgroup rw,memory\n"
    "37 31 0:34 {top} /sys/fs/cgroup/unified rw - cgroup2 cgroup2 rw"
)
V1_NO_LIMIT = 0x7FFFFFFFFFFFF000


def write(root: Path, files: dict[str, str | int]) -> None:
    for name, content in files.items():
        path = root / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(f"{content}\n")


def version_2(root: Path, own: str, files: dict[str, str | int], *, top: str = "/") -> None:
    write(root, {"proc/self/cgroup": f"0::{own}", "proc/self/mountinfo": V2_MOUNT.format(top=top)})
    write(root, {f"sys/fs/cgroup/{name}": content for name, content in files.items()})


def version_1(root: Path, own: str, files: dict[str, str | int], *, top: str = "/") -> None:
    memberships = f"9:name=systemd:/\n5:memory:{own}\n3:cpu,cpuacct:{own}\n0::/"
    write(root, {"proc/self/cgroup": memberships, "proc/self/mountinfo": V1_MOUNTS.format(top=top)})
    (root / "sys/fs/cgroup/unified").mkdir(parents=True)
    write(root, {f"sys/fs/cgroup/{name}": content for name, content in files.items()})


def machine(root: Path, total: int, available: int) -> None:
    write(root, {"proc/meminfo": f"MemTotal: {total // 1024} kB\nMemFree: 1 kB\nMemAvailable: {available // 1024} kB"})


def test_where_there_is_nothing_to_read_nothing_is_known(tmp_path: Path) -> None:
    assert read_resources(tmp_path) == Resources(cpus=None, memory=None)


def test_the_machine_limits_memory_where_no_group_does(tmp_path: Path) -> None:
    machine(tmp_path, 4 * GB, 3 * GB)
    version_2(tmp_path, "/", {"cgroup.procs": ""})
    assert read_resources(tmp_path) == Resources(
        cpus=None, memory=MemoryBudget(limit=4 * GB, used=GB, source="the machine")
    )


@pytest.mark.parametrize(
    ("written", "cpus"), [("150000 100000", 1.5), ("max 100000", None), ("50000 100000", 0.5), ("", None)]
)
def test_a_quota_of_version_2_is_cpu_time_over_time(tmp_path: Path, written: str, cpus: float | None) -> None:
    version_2(tmp_path, "/", {"cpu.max": written})
    assert read_resources(tmp_path).cpus == cpus


@pytest.mark.parametrize(("quota", "cpus"), [(250000, 2.5), (-1, None)])
def test_a_quota_of_version_1_stands_in_two_files(tmp_path: Path, quota: int, cpus: float | None) -> None:
    files: dict[str, str | int] = {"cpu,cpuacct/cpu.cfs_quota_us": quota, "cpu,cpuacct/cpu.cfs_period_us": 100000}
    version_1(tmp_path, "/", files)
    assert read_resources(tmp_path).cpus == cpus


def test_memory_of_version_2_counts_what_cannot_be_dropped(tmp_path: Path) -> None:
    files: dict[str, str | int] = {
        "memory.max": GB,
        "memory.high": "max",
        "memory.current": 300 * MB,
        "memory.stat": f"anon 1\ninactive_file {100 * MB}\nactive_file 5",
    }
    version_2(tmp_path, "/", files)
    assert read_resources(tmp_path).memory == MemoryBudget(limit=GB, used=200 * MB, source="cgroup /")


def test_memory_of_version_1_counts_what_cannot_be_dropped(tmp_path: Path) -> None:
    files: dict[str, str | int] = {
        "memory/memory.limit_in_bytes": V1_NO_LIMIT,
        "memory/memory.usage_in_bytes": 9 * GB,
        "memory/app/memory.limit_in_bytes": GB,
        "memory/app/memory.usage_in_bytes": 300 * MB,
        "memory/app/memory.stat": f"inactive_file 1\ntotal_inactive_file {100 * MB}",
    }
    version_1(tmp_path, "/app", files)
    assert read_resources(tmp_path).memory == MemoryBudget(limit=GB, used=200 * MB, source="cgroup /app")


def test_a_group_that_is_held_back_earlier_than_it_is_ended_counts_as_limited_there(tmp_path: Path) -> None:
    version_2(tmp_path, "/", {"memory.max": GB, "memory.high": 700 * MB, "memory.current": 100 * MB})
    memory = read_resources(tmp_path).memory
    assert memory is not None
    assert (memory.limit, memory.free) == (700 * MB, 600 * MB)


def test_the_tightest_group_on_the_way_up_decides(tmp_path: Path) -> None:
    machine(tmp_path, 64 * GB, 60 * GB)
    files: dict[str, str | int] = {
        "cpu.max": "max 100000",
        "pod/cpu.max": "200000 100000",
        "pod/memory.max": 4 * GB,
        "pod/memory.current": 4 * GB - 50 * MB,  # taken by the neighbours
        "pod/app/cpu.max": "300000 100000",
        "pod/app/memory.max": GB,
        "pod/app/memory.current": 100 * MB,
    }
    version_2(tmp_path, "/pod/app", files)
    found = read_resources(tmp_path)
    assert found.cpus == 2.0
    assert found.memory is not None
    assert (found.memory.source, found.memory.free) == ("cgroup /pod", 50 * MB)


@pytest.mark.parametrize("version", [version_1, version_2])
def test_in_a_container_without_a_namespace_of_its_own_the_mount_is_its_group(tmp_path: Path, version: object) -> None:
    assert callable(version)
    files = {"cpu.max": "50000 100000", "cpu,cpuacct/cpu.cfs_quota_us": 50000, "cpu,cpuacct/cpu.cfs_period_us": 100000}
    version(tmp_path, "/docker/abc", files, top="/docker/abc")
    assert read_resources(tmp_path).cpus == 0.5


@pytest.mark.parametrize("own", ["/../../other", "/elsewhere"])
def test_a_group_that_cannot_be_seen_leaves_that_of_the_mount(tmp_path: Path, own: str) -> None:
    version_2(tmp_path, own, {"cpu.max": "50000 100000"}, top="/mine" if own == "/elsewhere" else "/")
    assert read_resources(tmp_path).cpus == 0.5


def test_use_beyond_the_limit_leaves_nothing_rather_than_less(tmp_path: Path) -> None:
    version_2(tmp_path, "/", {"memory.max": GB, "memory.current": 2 * GB})
    memory = read_resources(tmp_path).memory
    assert memory is not None
    assert memory.free == 0


def test_nonsense_is_no_limit(tmp_path: Path) -> None:
    version_2(tmp_path, "/", {"cpu.max": "many few", "memory.max": "-5", "memory.current": "x", "memory.stat": "a b"})
    write(tmp_path, {"proc/meminfo": "MemTotal: much kB\nnothing"})
    assert read_resources(tmp_path) == Resources(cpus=None, memory=None)
    write(tmp_path, {"proc/self/cgroup": "nonsense\n::\n", "proc/self/mountinfo": "a b - \n - cgroup2\n\n"})
    assert read_resources(tmp_path) == Resources(cpus=None, memory=None)


def test_this_process_can_be_looked_at() -> None:
    found = read_resources()
    assert found.cpus is None or found.cpus > 0
    assert found.memory is None or found.memory.limit > 0
