"""Versions that fall, files of different publications, and how a repository recovers."""

from __future__ import annotations

from typing import Any

import pytest


def old_and_new(repository: Any, client: Any) -> dict[str, bytes]:
    """Publish twice, let the client see the second; what the first one looked like."""
    old: dict[str, bytes] = repository.saved()
    repository.publish_all()
    assert client.refresh()
    return old


def test_first_refresh_asks_in_the_order_of_the_workflow(repository: Any, client: Any) -> None:
    assert client.refresh()
    assert repository.asked == [
        "metadata/2.root.json",
        "metadata/timestamp.json",
        "metadata/1.snapshot.json",
        "metadata/1.targets.json",
    ]
    assert [client.version(role) for role in ("root", "timestamp", "snapshot", "targets")] == [
        1
    ] * 4


def test_second_refresh_asks_for_no_more_than_root_and_timestamp(
    repository: Any, client: Any
) -> None:
    assert client.refresh()
    assert client.refresh()
    assert repository.asked == ["metadata/2.root.json", "metadata/timestamp.json"]


def test_timestamp_rollback_is_refused(repository: Any, client: Any) -> None:
    old = old_and_new(repository, client)
    repository.files["metadata/timestamp.json"] = old["metadata/timestamp.json"]
    assert not client.refresh()
    assert client.version("timestamp") == 2


def test_timestamp_of_the_same_version_with_other_content_is_not_taken(
    repository: Any, client: Any
) -> None:
    assert client.refresh()
    kept = (client.cache / "timestamp.json").read_bytes()
    repository.timestamp.snapshot_meta.version = 100
    repository.write("timestamp")
    assert client.refresh()
    assert (client.cache / "timestamp.json").read_bytes() == kept


def test_timestamp_that_names_an_older_snapshot_is_refused(repository: Any, client: Any) -> None:
    old_and_new(repository, client)
    repository.snapshot.version = 1
    repository.name_snapshot(repository.write("snapshot"))
    assert not client.refresh()
    assert (client.version("timestamp"), client.version("snapshot")) == (2, 2)
    assert repository.asked[-1] == "metadata/timestamp.json"


def test_snapshot_rollback_under_an_honest_timestamp_is_not_seen(
    repository: Any, client: Any
) -> None:
    old_and_new(repository, client)
    repository.snapshot.version = 1
    repository.write("snapshot", version=2)
    assert client.refresh()
    assert client.version("snapshot") == 2


@pytest.mark.parametrize("hashes", [False, True])
def test_snapshot_rollback_is_refused(repository: Any, client: Any, hashes: bool) -> None:
    repository.hashes = hashes
    old_and_new(repository, client)
    repository.snapshot.version = 1
    repository.name_snapshot(repository.write("snapshot", version=3))
    repository.timestamp.snapshot_meta.version = 3
    repository.timestamp.version += 1
    repository.write("timestamp")
    assert not client.refresh()
    assert client.version("snapshot") == 2


@pytest.mark.parametrize("hashes", [False, True])
def test_targets_rollback_is_refused(repository: Any, client: Any, hashes: bool) -> None:
    repository.hashes = hashes
    old_and_new(repository, client)
    repository.targets.version = 1
    repository.publish_targets(bump=False)
    repository.publish_snapshot()
    assert not client.refresh()
    assert client.version("targets") == 2


def test_rollback_of_a_delegated_role_is_refused(repository: Any, client: Any) -> None:
    repository.delegate("targets", "team")
    repository.publish_all()
    repository.publish_all()
    assert not client.download("nothing")
    assert client.version("team") == 2
    repository.roles["team"].version = 1
    repository.publish_targets("team", bump=False)
    repository.publish_snapshot()
    assert not client.download("nothing")
    assert client.version("team") == 2
    assert "team.json" in str(client.error)


def test_snapshot_that_forgets_a_role_is_refused(repository: Any, client: Any) -> None:
    repository.delegate("targets", "team")
    repository.publish_all()
    assert client.refresh()
    del repository.snapshot.meta["team.json"]
    repository.publish_snapshot()
    assert not client.refresh()
    assert "team.json" in str(client.error)


def test_root_rollback_is_refused(repository: Any, client: Any) -> None:
    repository.publish_root()
    assert client.refresh()
    assert client.version("root") == 2
    repository.files["metadata/3.root.json"] = repository.trusted_root
    assert not client.refresh()
    assert client.version("root") == 2


def test_root_that_skips_a_version_is_refused(repository: Any, client: Any) -> None:
    repository.root.version = 3
    repository.write("root", version=2)
    assert not client.refresh()
    assert client.version("root") == 1


# Mix and match -----------------------------------------------------------------------------------


def test_snapshot_that_the_timestamp_does_not_name_is_refused(repository: Any, client: Any) -> None:
    repository.snapshot.version = 2
    repository.write("snapshot", version=1)
    assert not client.refresh()
    assert not client.holds("snapshot")


def test_snapshot_with_another_hash_is_refused(repository: Any, client: Any) -> None:
    repository.hashes = True
    repository.publish_all()
    repository.snapshot.unrecognized_fields["mood"] = "changed"
    repository.write("snapshot")
    assert not client.refresh()
    assert not client.holds("snapshot")


def test_targets_of_another_publication_are_refused(repository: Any, client: Any) -> None:
    old = repository.saved()
    repository.publish_all()
    repository.files["metadata/2.targets.json"] = old["metadata/1.targets.json"]
    assert not client.refresh()
    assert not client.holds("targets")


def test_targets_with_another_hash_are_refused(repository: Any, client: Any) -> None:
    repository.hashes = True
    repository.publish_all()
    assert client.refresh()
    repository.publish_all()
    repository.targets.unrecognized_fields["mood"] = "changed"
    repository.write("targets")
    assert not client.refresh()
    assert client.version("targets") == 2


@pytest.mark.parametrize("hashes", [False, True])
def test_delegated_role_of_another_publication_is_refused(
    repository: Any, client: Any, hashes: bool
) -> None:
    repository.hashes = hashes
    repository.delegate("targets", "team")
    repository.publish_all()
    old = repository.saved()
    repository.publish_all()
    repository.files["metadata/2.team.json"] = old["metadata/1.team.json"]
    assert not client.download("nothing")
    assert not client.holds("team")


def test_length_in_the_snapshot_bounds_what_is_fetched(repository: Any, client: Any) -> None:
    repository.hashes = True
    repository.publish_all()
    repository.files["metadata/2.targets.json"] += b" "
    assert not client.refresh()
    assert not client.holds("targets")


# Fast forward, and the way back ------------------------------------------------------------------


def test_fast_forwarded_timestamp_recovers_with_a_new_key(repository: Any, client: Any) -> None:
    repository.timestamp.version = 99_999
    repository.write("timestamp")
    assert client.refresh()
    assert client.version("timestamp") == 99_999
    repository.new_keys("timestamp")
    repository.publish_root()
    repository.timestamp.version = 1
    repository.write("timestamp")
    assert client.refresh()
    assert client.version("timestamp") == 1


def test_fast_forwarded_snapshot_recovers_with_new_keys(repository: Any, client: Any) -> None:
    repository.snapshot.version = 99_999
    repository.publish_snapshot(bump=False)
    assert client.refresh()
    assert client.version("snapshot") == 99_999
    repository.new_keys("snapshot")
    repository.new_keys("timestamp")
    repository.publish_root()
    repository.snapshot.version = 1
    repository.publish_snapshot(bump=False)
    assert client.refresh()
    assert client.version("snapshot") == 1


def test_fast_forwarded_targets_recover_with_a_new_snapshot_key(
    repository: Any, client: Any
) -> None:
    repository.targets.version = 99_999
    repository.publish_all(bump=False)
    assert client.refresh()
    assert client.version("targets") == 99_999
    repository.new_keys("snapshot")
    repository.publish_root()
    repository.targets.version = 2
    repository.publish_all(bump=False)
    assert client.refresh()
    assert client.version("targets") == 2


def test_fast_forwarded_snapshot_stays_refused_while_the_timestamp_key_is_the_old_one(
    repository: Any, client: Any
) -> None:
    repository.snapshot.version = 99_999
    repository.publish_snapshot(bump=False)
    assert client.refresh()
    repository.new_keys("snapshot")
    repository.publish_root()
    repository.snapshot.version = 1
    repository.publish_snapshot(bump=False)
    assert not client.refresh()
