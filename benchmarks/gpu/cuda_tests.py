"""The tests of the CUDA path, with what any pytest has: no set-up and no configuration of the other tests."""

from __future__ import annotations

from collections import Counter

import pytest

from benchmarks.gpu.part import Target
from benchmarks.gpu.results import Record

_ALONE = (
    "--confcutdir=tests/gpu",  # tests/conftest.py starts servers, with packages that a GPU machine may lack
    "--import-mode=importlib",
    *("-o", "addopts="),
    *("-o", "filterwarnings=default"),  # warnings of other versions than the locked ones fail nothing here
    *("-p", "no:cacheprovider"),
)


def measure(target: Target, record: Record) -> None:
    """Run them; each failure is a remark.

    Raises:
        SystemExit: one failed, or on a GPU none ran.
    """
    seen = _Seen(record)
    code = pytest.main(["tests/gpu", "-v", *_ALONE], plugins=[seen])
    if code not in {pytest.ExitCode.OK, pytest.ExitCode.TESTS_FAILED}:
        raise SystemExit(f"pytest ended with code {int(code)}")
    record.figure(
        "tests of the CUDA path that fail",
        seen.count["failed"],
        "tests",
        ", ".join(f"{number} {outcome}" for outcome, number in seen.count.items()),
        at_most=0,
    )
    if seen.count["failed"]:
        raise SystemExit(f"{seen.count['failed']} tests failed")
    if target.device == "cuda" and not seen.count["passed"]:
        raise SystemExit("no test ran: torch sees no CUDA device")


class _Seen:
    """A plugin of pytest that notes the outcomes as they come."""

    def __init__(self, record: Record) -> None:
        self._record = record
        self.count: Counter[str] = Counter()

    def pytest_runtest_logreport(self, report: pytest.TestReport) -> None:
        """Count a test, by its call or by what kept it from being called."""
        if report.when == "call" or not report.passed:
            self.count[report.outcome] += 1
        if report.failed:
            self._record.remark(f"{report.nodeid} failed: {report.longreprtext.strip().splitlines()[-1][:200]}")
