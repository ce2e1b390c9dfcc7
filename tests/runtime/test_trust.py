"""One test per attack on the repository, each against python-tuf's own client."""

from __future__ import annotations

import datetime
from pathlib import Path
from typing import Any

import pytest
from securesystemslib.signer import CryptoSigner
from tuf.api.metadata import Root

from edgekiln.runtime.errors import (
    AbsentFileError,
    StaleMetadataError,
    TransferError,
    TrustError,
)
from edgekiln.runtime.trust import Trust, check_file

DAY = datetime.timedelta(days=1)


class Wire:
    """Serves the repository's files, or what an attacker made of them."""

    def __init__(self, files: dict[str, bytes]) -> None:
        self.files = files
        self.asked: list[str] = []

    def __call__(self, path: str, max_bytes: int) -> bytes:
        self.asked.append(path)
        if path not in self.files:
            raise AbsentFileError(f"'{path}' is not there")
        return self.files[path]


@pytest.fixture
def repository(world: Any) -> Any:
    """The repository of the world, which holds the factory release already."""
    return world.repository


@pytest.fixture
def trust(tmp_path: Path, repository: Any) -> Trust:
    return Trust(tmp_path / "cache", repository.trusted_root)


def path_of(repository: Any, data: bytes, **options: Any) -> str:
    return f"bundles/{repository.add(data, **options)}.ekb"


def test_find_reads_what_the_signed_target_says(trust: Trust, repository: Any) -> None:
    path = path_of(repository, b"x" * 130, counter=7, targets=("host", "m4"))
    release = trust.find(path, Wire(repository.files))
    assert (release.bytes, release.security_counter, release.block_bytes) == (130, 7, 64)
    assert release.targets == ("host", "m4")
    assert release.target_path == path
    assert release.leaves_path == f"{path}.leaves"


def test_find_refuses_when_the_timestamp_is_rolled_back(trust: Trust, repository: Any) -> None:
    first = path_of(repository, b"first")
    old = dict(repository.files)
    path_of(repository, b"second")
    trust.find(first, Wire(repository.files))
    with pytest.raises(TrustError, match="version"):
        trust.find(first, Wire(old))


def test_find_refuses_when_the_snapshot_is_rolled_back(trust: Trust, repository: Any) -> None:
    path = path_of(repository, b"first")
    trust.find(path, Wire(repository.files))
    repository.snapshot.version -= 2
    repository.publish()
    with pytest.raises(TrustError):
        trust.find(path, Wire(repository.files))


@pytest.mark.parametrize("role", ["timestamp", "snapshot", "targets"])
def test_find_refuses_as_stale_when_a_role_has_expired(
    trust: Trust, repository: Any, role: str
) -> None:
    path = path_of(repository, b"first")
    getattr(repository, role).expires -= 400 * DAY
    repository.publish()
    with pytest.raises(StaleMetadataError, match="expired"):
        trust.find(path, Wire(repository.files))


def test_find_refuses_when_the_root_has_expired(tmp_path: Path, repository: Any) -> None:
    path = path_of(repository, b"first")
    repository.root.expires -= 400 * DAY
    repository.write(repository.root, "1.root")
    trust = Trust(tmp_path / "other", repository.trusted_root)
    with pytest.raises(StaleMetadataError, match="root"):
        trust.find(path, Wire(repository.files))


@pytest.mark.parametrize("role", ["timestamp", "snapshot", "targets"])
def test_find_refuses_when_a_stranger_signed(trust: Trust, repository: Any, role: str) -> None:
    path = path_of(repository, b"first")
    repository.signers[role] = CryptoSigner.generate_ed25519()
    repository.publish()
    with pytest.raises(TrustError, match="not trusted"):
        trust.find(path, Wire(repository.files))


def test_find_refuses_when_targets_were_changed_after_signing(
    trust: Trust, repository: Any
) -> None:
    path = path_of(repository, b"first", counter=3)
    name = f"metadata/{repository.targets.version}.targets.json"
    before = repository.files[name]
    repository.files[name] = before.replace(b'"security_counter":3', b'"security_counter":9')
    assert repository.files[name] != before
    with pytest.raises(TrustError, match="not trusted"):
        trust.find(path, Wire(repository.files))


def test_find_refuses_when_files_of_two_publications_are_mixed(
    trust: Trust, repository: Any
) -> None:
    path = path_of(repository, b"first")
    old = repository.files[f"metadata/{repository.targets.version}.targets.json"]
    path_of(repository, b"second")
    repository.files[f"metadata/{repository.targets.version}.targets.json"] = old
    with pytest.raises(TrustError, match="Expected targets"):
        trust.find(path, Wire(repository.files))


def test_find_follows_a_root_signed_by_old_and_new_keys(trust: Trust, repository: Any) -> None:
    path = path_of(repository, b"first")
    rotate_timestamp_key(repository, signer=repository.signers["root"])
    assert trust.find(path, Wire(repository.files)).target_path == path


def test_find_refuses_when_a_stranger_signed_the_next_root(trust: Trust, repository: Any) -> None:
    path = path_of(repository, b"first")
    rotate_timestamp_key(repository, signer=CryptoSigner.generate_ed25519())
    with pytest.raises(TrustError):
        trust.find(path, Wire(repository.files))


def rotate_timestamp_key(repository: Any, signer: Any) -> None:
    root: Root = repository.root
    new = CryptoSigner.generate_ed25519()
    old_id = repository.signers["timestamp"].public_key.keyid
    root.revoke_key(old_id, "timestamp")
    root.add_key(new.public_key, "timestamp")
    root.version += 1
    repository.signers["timestamp"] = new
    honest, repository.signers["root"] = repository.signers["root"], signer
    repository.write(root, "2.root")
    repository.signers["root"] = honest
    repository.publish()


def test_find_refuses_when_the_target_is_unknown_or_bare(trust: Trust, repository: Any) -> None:
    path = path_of(repository, b"first")
    with pytest.raises(TrustError, match="knows no target"):
        trust.find("bundles/other.ekb", Wire(repository.files))
    entry = repository.targets.targets[path]
    entry.unrecognized_fields["custom"] = {"edgekiln": {"bundle_id": "x"}}
    repository.publish()
    with pytest.raises(TrustError, match="no Edgekiln release"):
        trust.find(path, Wire(repository.files))


@pytest.mark.parametrize(
    ("key", "value"), [("merkle_root", "zz"), ("bundle_id", "../../x"), ("block_bytes", 0)]
)
def test_find_refuses_when_a_signed_field_is_unusable(
    trust: Trust, repository: Any, key: str, value: object
) -> None:
    path = path_of(repository, b"first")
    repository.targets.targets[path].unrecognized_fields["custom"]["edgekiln"][key] = value
    repository.publish()
    with pytest.raises(TrustError, match="without a usable"):
        trust.find(path, Wire(repository.files))


def test_find_says_that_metadata_does_not_come_when_the_link_is_down(trust: Trust) -> None:
    def down(path: str, max_bytes: int) -> bytes:
        raise TransferError(f"'{path}' cannot be asked for: the device is offline")

    with pytest.raises(TransferError, match="offline") as caught:
        trust.find("bundles/x.ekb", down)
    assert "\n" not in str(caught.value)


def test_find_mends_a_damaged_cache(tmp_path: Path, trust: Trust, repository: Any) -> None:
    path = path_of(repository, b"first")
    trust.find(path, Wire(repository.files))
    for name in ("timestamp", "snapshot", "targets"):
        (tmp_path / "cache" / f"{name}.json").write_bytes(b"{torn")
    assert trust.find(path, Wire(repository.files)).target_path == path


def test_find_asks_for_little_when_nothing_is_new(trust: Trust, repository: Any) -> None:
    path = path_of(repository, b"first")
    trust.find(path, Wire(repository.files))
    wire = Wire(repository.files)
    trust.find(path, wire)
    assert wire.asked == ["metadata/2.root.json", "metadata/timestamp.json"]


def test_trust_refuses_when_its_own_root_is_rubbish(tmp_path: Path, repository: Any) -> None:
    trust = Trust(tmp_path / "other", b"{}")
    with pytest.raises(TrustError, match=r"trust/root\.json"):
        trust.find("bundles/x.ekb", Wire(repository.files))


def test_factory_verifies_years_later(trust: Trust, world: Any, tmp_path: Path) -> None:
    for role in ("timestamp", "snapshot", "targets"):
        getattr(world.repository, role).expires -= 3000 * DAY
    world.repository.publish()
    world.repository.copy_to(tmp_path / "boxed")
    release, data = trust.verify_factory(tmp_path / "boxed")
    assert release.bundle_id == world.factory
    assert len(data) == release.bytes


def test_factory_is_refused_when_a_stranger_signed_it(
    trust: Trust, world: Any, tmp_path: Path
) -> None:
    world.repository.signers["targets"] = CryptoSigner.generate_ed25519()
    world.repository.publish()
    world.repository.copy_to(tmp_path / "forged")
    with pytest.raises(TrustError, match="not trusted"):
        trust.verify_factory(tmp_path / "forged")


@pytest.mark.parametrize("missing", ["metadata", "targets"])
def test_factory_is_refused_in_one_line_when_files_are_missing(
    trust: Trust, world: Any, tmp_path: Path, missing: str
) -> None:
    world.repository.copy_to(tmp_path / "partial")
    for path in list((tmp_path / "partial" / missing).rglob("*")):
        if path.is_file():
            path.unlink()
    with pytest.raises(TrustError) as caught:
        trust.verify_factory(tmp_path / "partial")
    assert "\n" not in str(caught.value)


def test_check_file_refuses_when_length_or_hash_differ() -> None:
    import hashlib

    good = hashlib.sha256(b"abc").hexdigest()
    check_file(3, good, b"abc")
    for length, data in ((3, b"abd"), (4, b"abc"), (3, b"abcd")):
        with pytest.raises(TrustError, match="not the signed one"):
            check_file(length, good, data)
