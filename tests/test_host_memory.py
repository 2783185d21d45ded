"""Memory of the machine and of control groups, read from trees as the kernel shows them."""

from __future__ import annotations

from pathlib import Path

import psutil
import pytest

from inpaint_server.host_memory import free_bytes, total_bytes

MB = 1_000_000


@pytest.fixture
def membership(tmp_path: Path) -> Path:
    return tmp_path / "cgroup"


def version_2(folder: Path, limit: str, in_use: int, cache: int) -> None:
    folder.mkdir(parents=True, exist_ok=True)
    (folder / "memory.max").write_text(f"{limit}\n")
    (folder / "memory.current").write_text(f"{in_use + cache}\n")
    (folder / "memory.stat").write_text(f"anon {in_use}\ninactive_file {cache}\n")


def version_1(folder: Path, limit: int, in_use: int, cache: int) -> None:
    folder.mkdir(parents=True, exist_ok=True)
    (folder / "memory.limit_in_bytes").write_text(f"{limit}\n")
    (folder / "memory.usage_in_bytes").write_text(f"{in_use + cache}\n")
    (folder / "memory.stat").write_text(f"rss {in_use}\ntotal_inactive_file {cache}\n")


def test_version_2_counts_whole_group_without_cache(tmp_path: Path, membership: Path):
    membership.write_text("0::/\n")
    version_2(tmp_path, str(100 * MB), in_use=30 * MB, cache=50 * MB)
    assert (total_bytes(membership, tmp_path), free_bytes(membership, tmp_path)) == (100 * MB, 70 * MB)


def test_version_2_tightest_of_nested_groups(tmp_path: Path, membership: Path):
    membership.write_text("0::/pod/container\n")
    version_2(tmp_path / "pod/container", "max", in_use=10 * MB, cache=0)
    version_2(tmp_path / "pod", str(50 * MB), in_use=45 * MB, cache=0)
    assert (total_bytes(membership, tmp_path), free_bytes(membership, tmp_path)) == (50 * MB, 5 * MB)


@pytest.mark.parametrize("folder", ["memory", "memory/docker/abc"])
def test_version_1_in_and_outside_container(tmp_path: Path, membership: Path, folder: str):
    membership.write_text("4:memory:/docker/abc\n3:cpuset:/\n0::/\n")
    version_1(tmp_path / folder, 80 * MB, in_use=90 * MB, cache=5 * MB)
    assert (total_bytes(membership, tmp_path), free_bytes(membership, tmp_path)) == (80 * MB, 0)


@pytest.mark.parametrize("groups", ["", "0::/\n", "4:memory:/\n"])
def test_machine_without_limit(tmp_path: Path, membership: Path, groups: str):
    membership.write_text(groups)
    version_1(tmp_path / "memory", 2**63 - 4096, in_use=MB, cache=0)
    assert total_bytes(membership, tmp_path) == psutil.virtual_memory().total
    assert free_bytes(membership, tmp_path) > 0
    assert free_bytes() <= total_bytes()
