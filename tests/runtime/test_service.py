"""What a service manager hears and reads."""

from __future__ import annotations

import shutil
import socket
import subprocess
from pathlib import Path

import pytest

from edgekiln.runtime.errors import DeviceConfigError
from edgekiln.runtime.service import READY, Unit, notify, unit_text


@pytest.mark.parametrize("abstract", [False, True])
def test_manager_is_told_when_it_listens(tmp_path: Path, abstract: bool) -> None:
    name = f"@edgekiln-{tmp_path.name}" if abstract else str(tmp_path / "notify")
    with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as manager:
        manager.bind("\0" + name[1:] if abstract else name)
        assert notify(READY, {"NOTIFY_SOCKET": name})
        assert manager.recv(100) == b"READY=1"


@pytest.mark.parametrize("environment", [{}, {"NOTIFY_SOCKET": "/nowhere/at/all"}])
def test_device_goes_on_when_nobody_listens(environment: dict[str, str]) -> None:
    assert not notify(READY, environment)


def _unit(tmp_path: Path, *arguments: str) -> str:
    program = shutil.which("true") or "/bin/true"
    return unit_text(Unit("cam-1", tmp_path, "root", (program, *arguments)))


def test_unit_lets_the_device_write_its_folder_alone(tmp_path: Path) -> None:
    lines = _unit(tmp_path).splitlines()
    assert f"ReadWritePaths={tmp_path}" in lines
    for line in ("Type=notify", "ProtectSystem=strict", "NoNewPrivileges=yes", "Restart=always"):
        assert line in lines


def test_systemd_reads_the_unit_when_words_are_awkward(tmp_path: Path) -> None:
    program = shutil.which("systemd-analyze")
    if program is None:
        return  # the parser is systemd's own; without it the form is checked below alone
    path = tmp_path / "edgekiln-test.service"
    path.write_text(_unit(tmp_path, "--source", "a b%n$HOME\"'\\.npz"))
    done = subprocess.run(
        [program, "verify", "--man=no", str(path)], capture_output=True, text=True, check=False
    )
    assert path.name not in done.stderr


def test_specifiers_and_variables_are_taken_literally(tmp_path: Path) -> None:
    text = _unit(tmp_path, "100%", "$HOME", 'say "hi"')
    command = next(line for line in text.splitlines() if line.startswith("ExecStart="))
    assert command.endswith(' 100%% "$$HOME" "say \\"hi\\""')


def test_line_break_cannot_smuggle_a_setting_in(tmp_path: Path) -> None:
    with pytest.raises(DeviceConfigError, match="line break"):
        _unit(tmp_path, "x\nUser=root")
