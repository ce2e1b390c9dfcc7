"""Metadata that is malformed, of an unknown version, endless, or not there."""

from __future__ import annotations

import json
from collections.abc import Callable
from typing import Any

import pytest

BOUNDS = {"2.root.json": 512_000, "timestamp.json": 16_384, "1.snapshot.json": 2_000_000}
LATER = ["timestamp.json", "1.snapshot.json", "1.targets.json"]


def without_version(document: dict[str, Any]) -> None:
    del document["signed"]["version"]


def foreign_signature(document: dict[str, Any]) -> None:
    document["signatures"][0]["sig"] = "ab" * 64


def no_signature(document: dict[str, Any]) -> None:
    document["signatures"] = []


@pytest.mark.parametrize("change", [without_version, foreign_signature, no_signature])
def test_wrong_first_root_stops_the_client_before_it_asks(
    repository: Any,
    new_client: Callable[[bytes], Any],
    change: Callable[[dict[str, Any]], None],
) -> None:
    document = json.loads(repository.trusted_root)
    change(document)
    client = new_client(json.dumps(document).encode())
    assert not client.refresh()
    assert repository.asked == []


def test_another_role_as_first_root_is_refused(
    repository: Any, new_client: Callable[[bytes], Any]
) -> None:
    client = new_client(repository.files["metadata/timestamp.json"])
    assert not client.refresh()
    assert repository.asked == []


def test_fields_that_nobody_knows_are_kept_and_signed_for(repository: Any, client: Any) -> None:
    keyid = repository.root.roles["root"].keyids[0]
    repository.root.unrecognized_fields["x-extra"] = "value"
    repository.root.keys[keyid].unrecognized_fields["x-extra"] = {"a": 1}
    repository.root.roles["root"].unrecognized_fields["x-extra"] = [1, 2]
    repository.publish_root()
    assert client.refresh()
    assert client.version("root") == 2


@pytest.mark.parametrize("role", ["root", "timestamp", "snapshot", "targets"])
def test_unknown_major_version_of_the_specification_is_refused(
    repository: Any, client: Any, role: str
) -> None:
    repository.roles[role].spec_version = "2.0.0"
    if role == "root":
        repository.publish_root()
    else:
        repository.publish_all()
    assert not client.refresh()
    assert client.holds(role) == (role == "root")
    assert client.version("root") == 1


def test_newer_minor_version_of_the_specification_is_taken(repository: Any, client: Any) -> None:
    for role in ("targets", "snapshot", "timestamp"):
        repository.roles[role].spec_version = "1.99.7"
    repository.publish_all()
    assert client.refresh()


@pytest.mark.parametrize("name", LATER)
@pytest.mark.parametrize(
    "data",
    [b"", b"{", b"[]", b"null", b'{"signed": {}}', b"\xff\xfe", b"NaN", b"[" * 100_000],
    ids=["empty", "torn", "list", "null", "bare", "no_text", "nan", "deep"],
)
def test_bytes_that_are_no_metadata_are_refused(
    repository: Any, client: Any, name: str, data: bytes
) -> None:
    repository.files[f"metadata/{name}"] = data[: BOUNDS.get(name, 5_000_000)]
    assert not client.refresh()
    assert not client.holds(name.removesuffix(".json").removeprefix("1."))


def test_next_root_that_is_no_metadata_is_refused(repository: Any, client: Any) -> None:
    repository.files["metadata/2.root.json"] = b"<html>not here</html>"
    assert not client.refresh()
    assert client.version("root") == 1


@pytest.mark.parametrize("name", LATER)
def test_role_served_in_the_place_of_another_is_refused(
    repository: Any, client: Any, name: str
) -> None:
    other = "metadata/1.snapshot.json" if name == "1.targets.json" else "metadata/1.targets.json"
    repository.files[f"metadata/{name}"] = repository.files[other]
    assert not client.refresh()


@pytest.mark.parametrize(("name", "bound"), BOUNDS.items())
def test_endless_metadata_ends_at_the_bound_of_its_role(
    repository: Any, client: Any, name: str, bound: int
) -> None:
    honest, heard = repository.fetch_bytes, {}

    def listen(url: str, max_bytes: int) -> bytes:
        heard[url.rpartition("/")[2]] = max_bytes
        data: bytes = honest(url, max_bytes)
        return data

    repository.fetch_bytes = listen
    repository.files[f"metadata/{name}"] = b" " * (bound + 1)
    assert not client.refresh()
    assert heard[name] == bound


def test_fetcher_that_gives_more_than_it_may_is_refused(repository: Any, client: Any) -> None:
    repository.files["metadata/timestamp.json"] += b" " * 20_000
    repository.fetch_bytes = lambda url, max_bytes: repository.files[url.split("example/")[1]]
    repository.files["metadata/2.root.json"] = b" " * 600_000
    assert not client.refresh()
    assert "more than 512000" in str(client.error)


@pytest.mark.parametrize("name", LATER)
def test_missing_role_is_refused(repository: Any, client: Any, name: str) -> None:
    del repository.files[f"metadata/{name}"]
    assert not client.refresh()


def test_damaged_cache_is_fetched_again(repository: Any, client: Any) -> None:
    assert client.refresh()
    for role in ("timestamp", "snapshot", "targets"):
        (client.cache / f"{role}.json").write_bytes(b"{torn")
    assert client.refresh()
    assert client.version("targets") == 1


def test_lookup_refreshes_by_itself(repository: Any, client: Any) -> None:
    assert not client.download("missing")
    assert client.version("targets") == 1
