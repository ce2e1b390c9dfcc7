"""Fixtures for every test: system tools, data, and an import path for an uninstalled checkout."""

from __future__ import annotations

import gc
import importlib.metadata
import importlib.util
import os
import shutil
import signal
import sys
import types
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
from hypothesis import settings

os.environ.setdefault("OMP_NUM_THREADS", "1")
os.environ.setdefault("OMP_WAIT_POLICY", "PASSIVE")

# A run started in a script's background ignores Ctrl-C, and so would every child that is to get it.
if signal.getsignal(signal.SIGINT) is signal.SIG_IGN:
    signal.signal(signal.SIGINT, signal.default_int_handler)

ROOT = Path(__file__).resolve().parent.parent

if importlib.util.find_spec("edgekiln") is None:
    package = types.ModuleType("edgekiln")
    package.__path__ = [str(ROOT)]
    sys.modules["edgekiln"] = package

# A loaded machine is slow now and then: no example has a deadline. `make test-fast` takes `quick`:
# fewer examples, the same on every run; `make test` draws new ones each time.
settings.register_profile("full", deadline=None)
settings.register_profile("quick", deadline=None, max_examples=25, derandomize=True)
settings.load_profile("full")

# tool -> the Debian package that brings it
SYSTEM_TOOLS = {
    "mosquitto": "mosquitto",
    "chromium": "chromium",
    "arm-none-eabi-gcc": "gcc-arm-none-eabi",
    "qemu-system-arm": "qemu-system-arm",
    "qemu-system-riscv32": "qemu-system-misc",
    "riscv64-unknown-elf-gcc": "gcc-riscv64-unknown-elf",
    "shellcheck": "shellcheck",
    "gcc": "gcc",
    "clang": "clang",
    "cmake": "cmake",
}
REQUIRE_ALL = os.environ.get("EDGEKILN_REQUIRE_ALL") == "1"
SYSTEM_PATHS = os.pathsep.join((os.environ.get("PATH", ""), "/usr/sbin", "/usr/local/sbin"))


def _absent(what: str, install: str) -> None:
    """Skip, or fail where the run promised that nothing is absent."""
    message = f"{what} is not here; install it with: {install}"
    if REQUIRE_ALL:
        pytest.fail(message, pytrace=False)
    pytest.skip(message)


@pytest.fixture(scope="session")
def require_tool() -> Callable[[str], str]:
    """Path of a system tool; skips with the line that installs it where it is absent."""

    def require(name: str) -> str:
        found = shutil.which(name, path=SYSTEM_PATHS)
        if found is None:
            _absent(name, f"make system   (apt-get install {SYSTEM_TOOLS[name]})")
        return str(found)

    return require


@pytest.fixture(scope="session")
def require_package() -> Callable[[str, str], None]:
    """(distribution, extra): skips with the line that installs it where it is absent."""

    def require(name: str, extra: str) -> None:
        try:
            importlib.metadata.version(name)
        except importlib.metadata.PackageNotFoundError:
            _absent(name, f"pip install 'edgekiln[{extra}]'")

    return require


@pytest.fixture(scope="session")
def data_dir() -> Path:
    """The folder of real models and data beside the repository (`EDGEKILN_DATA`)."""
    folder = Path(os.environ.get("EDGEKILN_DATA", ROOT.parent / "shared" / "data"))
    if not folder.is_dir():
        pytest.skip(f"no data folder {folder}; set EDGEKILN_DATA to run the tests that need it")
    return folder


@pytest.fixture(scope="session")
def mlperf_models(data_dir: Path) -> Path:
    """The folder of the MLPerf Tiny models."""
    folder = data_dir / "mlperf_tiny"
    if not folder.is_dir():
        pytest.skip(f"no models in {folder}")
    return folder


@pytest.fixture(scope="session", autouse=True)
def _no_idle_waits() -> Iterator[None]:
    """Only a power cut, which no test makes, can tell a file with fsync from one without; blocks
    are polled for more often, because the clocks of most wires here go faster than real ones.
    """
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(os, "fsync", lambda handle: None)
        patch.setattr("edgekiln.runtime.transfer.POLL_S", 0.002)
        yield


@pytest.hookimpl(trylast=True)
def pytest_collection_finish() -> None:
    """Libraries and collected tests stay until the end: spare the garbage collector their sight."""
    gc.collect()
    gc.freeze()
    gc.set_threshold(20_000, 20, 20)


def pytest_sessionfinish(session: pytest.Session, exitstatus: int) -> None:
    """With EDGEKILN_REQUIRE_ALL=1 a skipped test is a failure of the run."""
    reporter = session.config.pluginmanager.get_plugin("terminalreporter")
    if REQUIRE_ALL and reporter is not None and reporter.stats.get("skipped"):
        session.exitstatus = pytest.ExitCode.TESTS_FAILED
