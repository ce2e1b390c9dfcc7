"""Freezing a client on old metadata, and where old metadata is still of use."""

from __future__ import annotations

from datetime import timedelta
from typing import Any

import pytest


@pytest.mark.parametrize("role", ["timestamp", "snapshot", "targets"])
def test_expired_role_is_refused(repository: Any, client: Any, role: str) -> None:
    assert client.refresh()
    repository.roles[role].expires -= timedelta(days=31)
    repository.publish_all()
    assert not client.refresh()
    assert "expired" in str(client.error)
    assert client.version(role) == 1


def test_expired_delegated_role_is_refused(repository: Any, client: Any) -> None:
    repository.delegate("targets", "team")
    repository.roles["team"].expires -= timedelta(days=31)
    repository.add("file", b"data", "team")
    repository.publish_all()
    assert not client.download("file")
    assert "expired" in str(client.error)
    assert client.content() == []


def test_expired_last_root_is_kept_and_stops_everything_else(repository: Any, client: Any) -> None:
    assert client.refresh()
    repository.root.expires -= timedelta(days=31)
    repository.publish_root()
    repository.publish_all()
    assert not client.refresh()
    assert (client.version("root"), client.version("timestamp")) == (2, 1)


def test_expired_root_on_the_way_is_passed(repository: Any, client: Any) -> None:
    repository.root.expires -= timedelta(days=31)
    repository.publish_root()
    repository.root.expires += timedelta(days=31)
    repository.publish_root()
    assert client.refresh()
    assert client.version("root") == 3


def age(repository: Any, client: Any, role: str) -> None:
    """Let what the client holds of a role expire, as if it had been switched off for long."""
    repository.roles[role].expires -= timedelta(days=31)
    (client.cache / f"{role}.json").write_bytes(repository.write(role, name="aside"))
    repository.roles[role].expires += timedelta(days=31)


@pytest.mark.parametrize("role", ["timestamp", "snapshot"])
def test_expired_cache_is_no_obstacle_to_what_is_fresh(
    repository: Any, client: Any, role: str
) -> None:
    assert client.refresh()
    age(repository, client, role)
    repository.publish_all()
    assert client.refresh()
    assert client.version(role) == 2


@pytest.mark.parametrize("role", ["timestamp", "snapshot"])
def test_expired_cache_still_guards_against_rollback(
    repository: Any, client: Any, role: str
) -> None:
    old = repository.saved()
    repository.publish_all()
    assert client.refresh()
    age(repository, client, role)
    repository.files = old
    assert not client.refresh()
    assert client.version(role) == 2


def test_frozen_repository_is_noticed_when_its_timestamp_expires(
    repository: Any, client: Any
) -> None:
    assert client.refresh()
    assert client.refresh()
    age(repository, client, "timestamp")
    repository.files["metadata/timestamp.json"] = (client.cache / "timestamp.json").read_bytes()
    assert not client.refresh()
    assert "expired" in str(client.error)
