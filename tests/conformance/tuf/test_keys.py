"""Keys: rotation, thresholds, and signatures that should not count."""

from __future__ import annotations

import json
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import pytest
from securesystemslib.signer import CryptoSigner, SSlibKey

KEYS = [CryptoSigner.generate_ed25519() for _ in range(10)]


@dataclass(frozen=True)
class Signed:
    """One version of a role: which of KEYS it lists, how many must sign, which did."""

    keys: str
    threshold: int
    by: str


def put(repository: Any, role: str, signed: Signed) -> None:
    repository.root.roles[role].keyids.clear()
    repository.root.roles[role].threshold = signed.threshold
    for number in signed.keys:
        repository.root.add_key(KEYS[int(number)].public_key, role)
    repository.signers[role] = [KEYS[int(number)] for number in signed.by]


TAKEN = {
    "one_key_for_another": [Signed("1", 1, "1"), Signed("2", 1, "21"), Signed("2", 1, "2")],
    "with_signatures_of_strangers": [Signed("1", 1, "314"), Signed("2", 1, "3214")],
    "three_of_five_by_different_hands": [Signed("01234", 3, "024"), Signed("01234", 3, "134")],
    "three_of_five_one_replaced": [Signed("01234", 3, "024"), Signed("01345", 3, "041")],
    "three_of_five_one_replaced_stepwise": [
        Signed("01234", 3, "024"),
        Signed("01345", 3, "0245"),
        Signed("01345", 3, "045"),
    ],
    "all_five_replaced_stepwise": [
        Signed("01234", 3, "024"),
        Signed("56789", 3, "024567"),
        Signed("56789", 3, "567"),
    ],
    "threshold_raised": [Signed("123", 1, "1"), Signed("123", 2, "12")],
    "threshold_lowered": [Signed("123", 2, "12"), Signed("123", 1, "12"), Signed("123", 1, "1")],
    "second_key_demanded": [Signed("1", 1, "1"), Signed("12", 2, "12")],
}
REFUSED = {
    "not_signed_by_the_old_key": [Signed("1", 1, "1"), Signed("2", 1, "234")],
    "not_signed_by_the_new_key": [Signed("1", 1, "1"), Signed("2", 1, "134")],
    "too_few_of_the_new_keys": [Signed("01234", 3, "024"), Signed("01345", 3, "024")],
    "too_few_of_the_old_keys": [Signed("01234", 3, "024"), Signed("01345", 3, "045")],
    "new_threshold_not_reached": [Signed("123", 1, "1"), Signed("123", 2, "2")],
    "old_threshold_not_reached": [Signed("123", 2, "12"), Signed("123", 1, "1")],
}


def rotate_root(repository: Any, new_client: Callable[[bytes], Any], steps: list[Signed]) -> Any:
    for version, step in enumerate(steps, 1):
        put(repository, "root", step)
        repository.root.version = version
        repository.write("root")
    return new_client(repository.trusted_root)


@pytest.mark.parametrize("steps", TAKEN.values(), ids=TAKEN.keys())
def test_root_rotation_is_followed(
    repository: Any, new_client: Callable[[bytes], Any], steps: list[Signed]
) -> None:
    client = rotate_root(repository, new_client, steps)
    assert client.refresh()
    assert client.version("root") == len(steps)


@pytest.mark.parametrize("steps", REFUSED.values(), ids=REFUSED.keys())
def test_root_rotation_is_refused(
    repository: Any, new_client: Callable[[bytes], Any], steps: list[Signed]
) -> None:
    client = rotate_root(repository, new_client, steps)
    assert not client.refresh()
    assert client.version("root") == len(steps) - 1


ROLE_CASES = {
    "a_new_key": (Signed("2", 1, "2"), True),
    "strangers_beside_it": (Signed("1", 1, "314"), True),
    "three_of_five": (Signed("01234", 3, "041"), True),
    "strangers_alone": (Signed("2", 1, "134"), False),
    "one_of_three_is_a_stranger": (Signed("01345", 3, "024"), False),
    "two_of_three": (Signed("01345", 3, "04"), False),
    "nobody": (Signed("1", 1, ""), False),
}


@pytest.mark.parametrize("role", ["timestamp", "snapshot", "targets"])
@pytest.mark.parametrize(("signed", "good"), ROLE_CASES.values(), ids=ROLE_CASES.keys())
def test_role_is_taken_only_when_enough_of_its_keys_signed(
    repository: Any, client: Any, role: str, signed: Signed, good: bool
) -> None:
    put(repository, role, signed)
    repository.publish_root()
    repository.publish_all()
    assert client.refresh() == good
    assert client.holds(role) == good


def test_threshold_of_a_delegated_role_is_kept(repository: Any, client: Any) -> None:
    repository.delegate("targets", "team", signer=KEYS[0], threshold=2)
    repository.targets.add_key(KEYS[1].public_key, "team")
    repository.add("file", b"data", "team")
    repository.publish_all()
    assert not client.download("file")
    repository.signers["team"].append(KEYS[1])
    repository.publish_all()
    assert client.download("file")


def changed(repository: Any, name: str, change: Callable[[dict[str, Any]], None]) -> None:
    document = json.loads(repository.files[name])
    change(document)
    repository.files[name] = json.dumps(document).encode()


def test_one_signature_given_twice_is_refused(repository: Any, client: Any) -> None:
    repository.new_keys("timestamp", 2, threshold=2)
    del repository.signers["timestamp"][1]
    repository.publish_root()
    repository.publish_all()

    def twice(document: dict[str, Any]) -> None:
        document["signatures"] *= 2

    changed(repository, "metadata/timestamp.json", twice)
    assert not client.refresh()
    assert not client.holds("timestamp")


def test_one_key_under_two_ids_counts_once(repository: Any, client: Any) -> None:
    signer = repository.new_keys("timestamp", 1, threshold=2)[0]
    again = SSlibKey("0" * 64, "ed25519", "ed25519", dict(signer.public_key.keyval))
    repository.root.add_key(again, "timestamp")
    repository.signers["timestamp"].append(CryptoSigner(signer._private_key, again))
    repository.publish_root()
    repository.publish_all()
    assert not client.refresh()
    assert "two ids" in str(client.error)
    assert client.version("root") == 1


def test_one_key_of_a_delegation_under_two_ids_counts_once(repository: Any, client: Any) -> None:
    signer = repository.delegate("targets", "team", threshold=2)
    again = SSlibKey("0" * 64, "ed25519", "ed25519", dict(signer.public_key.keyval))
    repository.targets.add_key(again, "team")
    repository.signers["team"].append(CryptoSigner(signer._private_key, again))
    repository.add("file", b"data", "team")
    repository.publish_all()
    assert not client.download("file")
    assert "two ids" in str(client.error)


def test_signature_under_the_wrong_keyid_is_refused(repository: Any, client: Any) -> None:
    def misname(document: dict[str, Any]) -> None:
        document["signatures"][0]["keyid"] = "f" * 64

    changed(repository, "metadata/timestamp.json", misname)
    assert not client.refresh()


def test_keyid_of_a_role_without_a_key_does_not_count(repository: Any, client: Any) -> None:
    repository.new_keys("snapshot", 1)
    repository.root.roles["snapshot"].keyids.append("e" * 64)
    repository.root.roles["snapshot"].threshold = 2
    repository.publish_root()
    repository.publish_all()
    assert not client.refresh()
    assert not client.holds("snapshot")


def test_keyid_that_is_no_hash_of_its_key_is_followed(repository: Any, client: Any) -> None:
    """Ids are names: what counts is the key that the root lists under them."""
    signer = CryptoSigner.generate_ed25519()
    named = SSlibKey("our-release-key", "ed25519", "ed25519", dict(signer.public_key.keyval))
    repository.root.roles["timestamp"].keyids.clear()
    repository.root.add_key(named, "timestamp")
    repository.signers["timestamp"] = [CryptoSigner(signer._private_key, named)]
    repository.publish_root()
    repository.publish_all()
    assert client.refresh()


@pytest.mark.parametrize("role", ["timestamp", "snapshot", "targets"])
def test_content_changed_after_signing_is_refused(repository: Any, client: Any, role: str) -> None:
    name = "metadata/timestamp.json" if role == "timestamp" else f"metadata/1.{role}.json"

    def alter(document: dict[str, Any]) -> None:
        document["signed"]["x-mood"] = "changed"

    changed(repository, name, alter)
    assert not client.refresh()
    assert not client.holds(role)


@pytest.mark.parametrize("role", ["timestamp", "snapshot", "targets"])
def test_signature_with_another_roles_key_is_refused(
    repository: Any, client: Any, role: str
) -> None:
    repository.signers[role] = repository.signers["root"]
    repository.publish_all()
    assert not client.refresh()
    assert not client.holds(role)


def test_revoked_key_is_refused_after_the_root_that_revokes_it(
    repository: Any, client: Any
) -> None:
    assert client.refresh()
    old = list(repository.signers["timestamp"])
    repository.new_keys("timestamp")
    repository.publish_root()
    repository.signers["timestamp"] = old
    repository.publish_all()
    assert not client.refresh()


@pytest.mark.parametrize("make", ["ed25519", "ecdsa", pytest.param("rsa", marks=pytest.mark.slow)])
def test_keys_of_every_usual_kind_are_taken(repository: Any, client: Any, make: str) -> None:
    signer = getattr(CryptoSigner, f"generate_{make}")()
    repository.root.roles["targets"].keyids.clear()
    repository.root.add_key(signer.public_key, "targets")
    repository.signers["targets"] = [signer]
    repository.publish_root()
    repository.publish_all()
    assert client.refresh()


def test_key_of_an_unknown_kind_does_not_count(repository: Any, client: Any) -> None:
    key = SSlibKey("d" * 64, "quantum", "quantum-1", {"public": "00"})
    repository.root.roles["targets"].keyids.clear()
    repository.root.add_key(key, "targets")
    repository.publish_root()
    repository.publish_all()
    assert not client.refresh()
    assert not client.holds("targets")


def test_unknown_hash_algorithms_of_a_key_do_not_matter(repository: Any, client: Any) -> None:
    for key in repository.root.keys.values():
        key.unrecognized_fields["keyid_hash_algorithms"] = ["md5"]
    repository.publish_root()
    assert client.refresh()
    assert client.version("root") == 2


@pytest.mark.slow
def test_long_chain_of_roots_is_followed_in_one_run(repository: Any, client: Any) -> None:
    for _ in range(300):
        repository.publish_root()
    assert client.refresh()
    assert client.version("root") == 301
