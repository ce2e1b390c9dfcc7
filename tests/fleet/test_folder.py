from __future__ import annotations

import stat
from pathlib import Path

import pytest

from edgekiln.fleet.errors import FleetFolderError
from edgekiln.fleet.folder import init_fleet, open_fleet


def test_init_makes_a_folder_that_opens_the_same(tmp_path: Path) -> None:
    made = init_fleet(tmp_path / "fleet", broker_port=18833)
    opened = open_fleet(tmp_path / "fleet")
    assert opened == made
    assert opened.settings.broker.port == 18833
    assert 0 < opened.settings.http_port < 1 << 16
    for role in ("root", "targets", "snapshot", "timestamp", "rollout"):
        assert stat.S_IMODE(opened.key_file(role).stat().st_mode) == 0o600
        opened.private_key(role)
    for secret in (opened.token_file, opened.broker / "passwords"):
        assert stat.S_IMODE(secret.stat().st_mode) == 0o600
    assert list(tmp_path.iterdir()) == [tmp_path / "fleet"]


def test_init_refuses_when_the_place_is_taken(tmp_path: Path) -> None:
    (tmp_path / "note").write_text("mine")
    with pytest.raises(FleetFolderError, match="already in use"):
        init_fleet(tmp_path)
    assert (tmp_path / "note").read_text() == "mine"


def test_init_leaves_nothing_when_a_setting_is_wrong(tmp_path: Path) -> None:
    with pytest.raises(FleetFolderError, match="tenant 'a/b'"):
        init_fleet(tmp_path / "fleet", tenant="a/b")
    with pytest.raises(FleetFolderError, match="port 70000"):
        init_fleet(tmp_path / "fleet", broker_port=70000)
    assert list(tmp_path.iterdir()) == []


def test_open_names_the_way_out_when_there_is_no_fleet(tmp_path: Path) -> None:
    with pytest.raises(FleetFolderError, match="edgekiln fleet init"):
        open_fleet(tmp_path)


@pytest.mark.parametrize("text", ["tenant = 3", "x", 'tenant = "a"\nhttp_port = 1\nfoo = 2'])
def test_open_names_the_file_when_its_settings_are_wrong(tmp_path: Path, text: str) -> None:
    folder = init_fleet(tmp_path / "fleet")
    (folder.path / "fleet.toml").write_text(text)
    with pytest.raises(FleetFolderError, match=r"fleet\.toml cannot be read"):
        open_fleet(folder.path)


def test_open_says_what_is_absent_when_the_folder_is_incomplete(tmp_path: Path) -> None:
    folder = init_fleet(tmp_path / "fleet")
    folder.token_file.unlink()
    with pytest.raises(FleetFolderError, match=r"operator\.token"):
        open_fleet(folder.path)


def test_private_key_says_which_key_is_away(tmp_path: Path) -> None:
    folder = init_fleet(tmp_path / "fleet")
    folder.key_file("targets").unlink()
    with pytest.raises(FleetFolderError, match="targets key"):
        folder.private_key("targets")
