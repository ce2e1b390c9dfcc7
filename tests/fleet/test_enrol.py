from __future__ import annotations

import stat
import tomllib
from collections.abc import Callable
from pathlib import Path

import pytest

from edgekiln.fleet.enrol import enrol_device
from edgekiln.fleet.errors import FleetFolderError, ReleaseError
from edgekiln.fleet.folder import FleetFolder
from edgekiln.fleet.passwords import parse_password_file, verify_password
from edgekiln.fleet.registry import quarantine, register_release
from edgekiln.fleet.store import open_store
from edgekiln.runtime.signing import public_key_from_hex
from edgekiln.runtime.trust import Trust
from edgekiln.targets import TargetError, profiles

MakeBundle = Callable[..., Path]


def test_device_folder_starts_without_the_network(
    copied_fleet: FleetFolder, make_bundle: MakeBundle, tmp_path: Path
) -> None:
    release = register_release(copied_fleet, make_bundle())
    register_release(copied_fleet, make_bundle("other"))
    out = enrol_device(
        copied_fleet, "cam-1", "host", ("all", "a", "all"), tmp_path / "devices" / "cam-1", release
    )
    config = tomllib.loads((out / "device.toml").read_text())
    assert config["cohorts"] == ["all", "a"]
    assert config["broker"] == {
        "host": "127.0.0.1",
        "port": copied_fleet.settings.broker.port,
        "username": "cam-1",
    }
    assert config["ram_bytes"] > 0
    password = (out / "password").read_text().strip()
    assert stat.S_IMODE((out / "password").stat().st_mode) == 0o600
    users = parse_password_file((copied_fleet.broker / "passwords").read_text())
    assert verify_password(password, users["cam-1"])
    public_key_from_hex((out / "trust" / "rollout.pub").read_text())
    trust = Trust(tmp_path / "tuf", (out / "trust" / "root.json").read_bytes())
    info, data = trust.verify_factory(out / "factory")
    assert info.bundle_id == release.bundle_id
    assert data == make_bundle().read_bytes()


def test_enrolment_is_remembered(
    copied_fleet: FleetFolder, make_bundle: MakeBundle, tmp_path: Path
) -> None:
    release = register_release(copied_fleet, make_bundle())
    enrol_device(copied_fleet, "cam-1", "host", ("all",), tmp_path / "cam-1", release, now_s=3.0)
    store = open_store(copied_fleet.database)
    (view,) = store.devices()
    store.close()
    assert (view.device, view.cohorts, view.online) == ("cam-1", ("all",), False)


@pytest.mark.parametrize(
    "name", ["", "a/b", "a+b", "#", "a:b", "a b", "fleet", ".hidden", "x" * 65]
)
def test_name_is_refused_when_it_could_become_a_topic_or_a_path(
    copied_fleet: FleetFolder, make_bundle: MakeBundle, tmp_path: Path, name: str
) -> None:
    release = register_release(copied_fleet, make_bundle())
    with pytest.raises(FleetFolderError):
        enrol_device(copied_fleet, name, "host", ("all",), tmp_path / "out", release)
    with pytest.raises(FleetFolderError):
        enrol_device(copied_fleet, "ok", "host", (), tmp_path / "out", release)
    assert not (tmp_path / "out").exists()


def test_enrolment_is_refused_when_the_release_does_not_fit(
    copied_fleet: FleetFolder, make_bundle: MakeBundle, tmp_path: Path
) -> None:
    board = register_release(copied_fleet, make_bundle("board", targets=("cortex-m4",)))
    with pytest.raises(ReleaseError, match="made for cortex-m4, not for 'host'"):
        enrol_device(copied_fleet, "cam-1", "host", ("all",), tmp_path / "out", board)
    with pytest.raises(TargetError):
        enrol_device(copied_fleet, "cam-1", "toaster", ("all",), tmp_path / "out", board)
    release = register_release(copied_fleet, make_bundle())
    store = open_store(copied_fleet.database)
    stopped = quarantine(store, release.bundle_id, "it fails")
    store.close()
    with pytest.raises(ReleaseError, match="quarantined"):
        enrol_device(copied_fleet, "cam-1", "host", ("all",), tmp_path / "out", stopped)
    assert not (tmp_path / "out").exists()
    users = parse_password_file((copied_fleet.broker / "passwords").read_text())
    assert set(users) == {"fleet"}


def test_enrolment_leaves_a_taken_folder_alone(
    copied_fleet: FleetFolder, make_bundle: MakeBundle, tmp_path: Path
) -> None:
    release = register_release(copied_fleet, make_bundle())
    (tmp_path / "out").mkdir()
    (tmp_path / "out" / "mine").write_text("x")
    with pytest.raises(FleetFolderError, match="in use"):
        enrol_device(copied_fleet, "cam-1", "host", ("all",), tmp_path / "out", release)
    assert (tmp_path / "out" / "mine").read_text() == "x"


def test_device_is_enrolled_when_a_folder_of_ones_own_holds_its_profile(
    copied_fleet: FleetFolder, make_bundle: MakeBundle, tmp_path: Path
) -> None:
    catalog = Path(profiles.__file__).parent / "catalog"
    mine = tmp_path / "profiles"
    mine.mkdir()
    text = (catalog / "raspberry-pi-4.toml").read_text().replace("raspberry-pi-4", "gateway")
    (mine / "gateway.toml").write_text(text)
    release = register_release(copied_fleet, make_bundle("gw", targets=("gateway",)))
    with pytest.raises(TargetError, match="gateway"):
        enrol_device(copied_fleet, "g-1", "gateway", ("all",), tmp_path / "g-1", release)
    out = enrol_device(
        copied_fleet, "g-1", "gateway", ("all",), tmp_path / "g-1", release, profiles=(mine,)
    )
    assert tomllib.loads((out / "device.toml").read_text())["target"] == "gateway"
