"""The repository as a device sees it: through python-tuf's own client."""

from __future__ import annotations

import hashlib
from collections.abc import Iterator
from datetime import timedelta
from pathlib import Path

import pytest
from tuf.api.exceptions import DownloadHTTPError, ExpiredMetadataError
from tuf.ngclient import FetcherInterface, Updater, UpdaterConfig

from edgekiln.fleet.errors import FleetFolderError, ReleaseError
from edgekiln.fleet.folder import FleetFolder, init_fleet
from edgekiln.fleet.repository import (
    add_target,
    copy_factory,
    create_repository,
    current_counter,
    now_utc,
    refresh_online,
    target_path,
)
from edgekiln.runtime.merkle import decode_leaves, leaf_hash

DATA = bytes(range(256)) * 300  # three blocks, the last one short
BUNDLE = hashlib.sha256(b"manifest").hexdigest()


class Files(FetcherInterface):
    def __init__(self, root: Path) -> None:
        self.root = root

    def _fetch(self, url: str) -> Iterator[bytes]:
        path = self.root / url
        if not path.is_file():
            raise DownloadHTTPError(url, 404)
        return iter((path.read_bytes(),))


@pytest.fixture
def folder(tmp_path: Path) -> FleetFolder:
    return init_fleet(tmp_path / "fleet")


def client(folder: FleetFolder, tmp_path: Path) -> Updater:
    cache = tmp_path / "cache"
    cache.mkdir(exist_ok=True)
    return Updater(
        str(cache),
        "metadata/",
        target_base_url="targets/",
        fetcher=Files(folder.repository),
        config=UpdaterConfig(prefix_targets_with_hash=False),
        bootstrap=(folder.repository / "metadata" / "1.root.json").read_bytes(),
    )


def publish(folder: FleetFolder, data: bytes = DATA, name: str = BUNDLE, counter: int = 1) -> None:
    add_target(folder, data, name, counter, {"host": 1000}, {"host": 2000})


def test_client_downloads_the_bundle_when_it_was_published(
    folder: FleetFolder, tmp_path: Path
) -> None:
    publish(folder)
    updater = client(folder, tmp_path)
    found = updater.get_targetinfo(target_path(BUNDLE))
    assert found is not None
    got = updater.download_target(found, str(tmp_path / "got.ekb"))
    assert Path(got).read_bytes() == DATA


def test_custom_fields_let_each_block_be_checked(folder: FleetFolder, tmp_path: Path) -> None:
    publish(folder)
    found = client(folder, tmp_path).get_targetinfo(target_path(BUNDLE))
    assert found is not None
    custom = found.custom["edgekiln"]
    assert custom["bundle_id"] == BUNDLE
    assert custom["targets"] == ["host"]
    assert custom["ram_bytes"] == {"host": 1000}
    leaves_file = folder.repository / "targets" / custom["leaves_path"]
    leaves = decode_leaves(leaves_file.read_bytes(), bytes.fromhex(custom["merkle_root"]), 3)
    size = custom["block_bytes"]
    assert len(leaves) == 3
    assert [leaf_hash(DATA[i * size : (i + 1) * size]) for i in range(3)] == list(leaves)


def test_running_client_follows_when_releases_are_added(
    folder: FleetFolder, tmp_path: Path
) -> None:
    publish(folder)
    assert client(folder, tmp_path).get_targetinfo(target_path(BUNDLE))
    publish(folder, b"second", "b" * 64)
    updater = client(folder, tmp_path)
    assert updater.get_targetinfo(target_path("b" * 64))
    assert updater.get_targetinfo(target_path(BUNDLE))


def test_client_sees_the_state_before_when_publication_is_cut_before_the_timestamp(
    folder: FleetFolder, tmp_path: Path
) -> None:
    publish(folder)
    timestamp = (folder.repository / "metadata" / "timestamp.json").read_bytes()
    publish(folder, b"second", "b" * 64)
    (folder.repository / "metadata" / "timestamp.json").write_bytes(timestamp)
    updater = client(folder, tmp_path)
    assert updater.get_targetinfo(target_path(BUNDLE))
    assert updater.get_targetinfo(target_path("b" * 64)) is None
    publish(folder, b"third", "c" * 64)  # and the next publication goes on from there
    assert client(folder, tmp_path).get_targetinfo(target_path("c" * 64))


def test_refresh_signs_again_only_when_half_the_life_is_over(
    folder: FleetFolder, tmp_path: Path
) -> None:
    assert not refresh_online(folder)
    assert refresh_online(folder, now_utc() + timedelta(days=4))
    assert refresh_online(folder, now_utc() + timedelta(days=20))
    client(folder, tmp_path).refresh()


def test_client_refuses_when_the_timestamp_expired(tmp_path: Path, folder: FleetFolder) -> None:
    publish(folder)
    old = FleetFolder(tmp_path / "old", folder.settings)
    old.path.mkdir()
    (old.path / "keys").symlink_to(folder.path / "keys")
    create_repository(old, now_utc() - timedelta(days=8))
    with pytest.raises(ExpiredMetadataError):
        client(old, tmp_path).refresh()


def test_counter_is_the_highest_published(folder: FleetFolder) -> None:
    assert current_counter(folder) == 1
    publish(folder, counter=4)
    publish(folder, b"second", "b" * 64, counter=2)
    assert current_counter(folder) == 4


def test_factory_copy_verifies_alone(folder: FleetFolder, tmp_path: Path) -> None:
    publish(folder, b"other", "b" * 64)
    publish(folder)
    out = tmp_path / "factory"
    copy_factory(folder, target_path(BUNDLE), out)
    assert [p.name for p in out.rglob("*.ekb")] == [f"{BUNDLE}.ekb"]
    away = FleetFolder(tmp_path, folder.settings)
    out.rename(away.repository)
    found = client(away, tmp_path).get_targetinfo(target_path(BUNDLE))
    assert found is not None
    found.verify_length_and_hashes(DATA)


def test_factory_copy_refuses_when_the_target_is_unknown(
    folder: FleetFolder, tmp_path: Path
) -> None:
    with pytest.raises(ReleaseError, match="no target"):
        copy_factory(folder, "bundles/none.ekb", tmp_path / "factory")


def test_publishing_needs_the_offline_key_and_refreshing_does_not(folder: FleetFolder) -> None:
    folder.key_file("targets").unlink()
    folder.key_file("root").unlink()
    with pytest.raises(FleetFolderError, match="targets key"):
        publish(folder)
    assert refresh_online(folder, now_utc() + timedelta(days=4))
