"""Delegations: who is asked, in which order, and whose word counts on which path."""

from __future__ import annotations

import hashlib
import itertools
from pathlib import Path
from typing import Any

import pytest
from securesystemslib.signer import CryptoSigner
from tuf.api.metadata import DelegatedRole, Delegations, SuccinctRoles, Targets

# Delegations as "parent>child", "!" for terminating, ":pattern" for its paths.
GRAPHS = {
    "one_role": ("targets>A", "A"),
    "two_roles": ("targets>A targets>B", "A B"),
    "two_levels": ("targets>A targets>B B>C", "A B C"),
    "depth_first": ("targets>A targets>B A>C A>D", "A C D B"),
    "three_levels": ("targets>A targets>B A>C C>D", "A C D B"),
    "terminating_ends_the_search": ("targets>A targets>B A>C! A>D", "A C"),
    "terminating_still_descends": ("targets>A targets>B A>C! C>D", "A C D"),
    "paths_that_do_not_match": ("targets>A:*.py targets>B A>C", "B"),
    "paths_that_do_not_match_below": ("targets>A targets>B A>C:*.py C>D", "A B"),
    "cycle": ("targets>A targets>B B>C C>D D>B", "A B C D"),
    "two_ways_to_one_role": ("targets>A targets>B B>C A>C", "A C B"),
    "two_ways_one_matches": ("targets>A targets>B B>C A>C:*.py", "A B C"),
    "role_that_delegates_to_itself": ("targets>A A>A targets>B", "A B"),
}


def build(repository: Any, graph: str) -> None:
    signers: dict[str, CryptoSigner] = {}
    for edge in graph.split():
        names, _, pattern = edge.partition(":")
        parent, child = names.rstrip("!").split(">")
        signers[child] = repository.delegate(
            parent, child, (pattern or "*",), names.endswith("!"), signers.get(child)
        )
    repository.publish_all()


def visited(repository: Any) -> list[str]:
    """Roles asked for after the top level."""
    names = [path.split("/")[-1].split(".")[1] for path in repository.asked[4:]]
    return [name for name in names if name != "root"]


@pytest.mark.parametrize(("graph", "order"), GRAPHS.values(), ids=GRAPHS.keys())
def test_roles_are_asked_in_the_order_of_the_workflow(
    repository: Any, client: Any, graph: str, order: str
) -> None:
    build(repository, graph)
    assert not client.download("missing")
    assert visited(repository) == order.split()


TREE = "targets>A:*.md targets>B:releases/*/* B>C:releases/x/* B>D:releases/y/*.zip"
SEARCHES = {
    "of_targets_itself": ("targets", "file", "", True),
    "by_pattern": ("A", "README.md", "A", True),
    "two_levels_down": ("C", "releases/x/v1", "B C", True),
    "by_suffix_below": ("D", "releases/y/v1.zip", "B D", True),
    "outside_what_was_delegated": ("D", "releases/z/v1.zip", "B", False),
    "by_a_role_that_may_not": ("A", "releases/x/v1", "B C", False),
}


@pytest.mark.parametrize(("role", "path", "order", "found"), SEARCHES.values(), ids=SEARCHES.keys())
def test_target_counts_only_where_its_path_is_delegated(
    repository: Any, client: Any, role: str, path: str, order: str, found: bool
) -> None:
    build(repository, TREE)
    repository.add(path, b"data", role)
    repository.publish_all()
    assert client.download(path) == found
    assert [name for name in visited(repository) if len(name) == 1] == order.split()
    assert client.content() == ([b"data"] if found else [])


def test_first_role_in_the_order_wins(repository: Any, client: Any) -> None:
    build(repository, "targets>A targets>B")
    repository.add("file", b"of A", "A")
    repository.add("file", b"of B", "B")
    repository.publish_all()
    assert client.download("file")
    assert client.content() == [b"of A"]


def test_hash_prefixes_decide_who_is_asked(repository: Any, client: Any) -> None:
    build(repository, "targets>A targets>B")
    entries = repository.targets.delegations.roles
    for name, prefixes in (("A", list("01234567")), ("B", list("89abcdef"))):
        keyids = entries[name].keyids
        entries[name] = DelegatedRole(name, keyids, 1, False, None, prefixes)
    repository.publish_all()
    assert not client.download("missing")
    (asked,) = visited(repository)
    digest = hashlib.sha256(b"missing").hexdigest()
    assert asked == ("A" if digest[0] in "01234567" else "B")


def test_bins_of_succinct_roles_are_found(repository: Any, client: Any) -> None:
    signer = CryptoSigner.generate_ed25519()
    bins = SuccinctRoles([], 1, 3, "bin")
    repository.targets.delegations = Delegations({}, None, bins)
    repository.targets.add_key(signer.public_key)
    for name in bins.get_roles():
        repository.roles[name] = Targets(expires=repository.targets.expires)
        repository.signers[name] = [signer]
    home = bins.get_role_for_target("file")
    repository.add("file", b"data", home)
    repository.publish_all()
    assert client.download("file")
    assert visited(repository)[0] == home


def test_delegated_role_that_the_snapshot_does_not_name_is_refused(
    repository: Any, client: Any
) -> None:
    repository.delegate("targets", "team")
    repository.add("file", b"data", "team")
    repository.write("team")
    repository.publish_targets()
    repository.publish_snapshot()
    assert not client.download("file")
    assert "snapshot" in str(client.error)


def test_delegated_role_signed_by_a_stranger_is_refused(repository: Any, client: Any) -> None:
    repository.delegate("targets", "team")
    repository.signers["team"] = [CryptoSigner.generate_ed25519()]
    repository.add("file", b"data", "team")
    repository.publish_all()
    assert not client.download("file")
    assert client.content() == []


def test_endless_chain_of_delegations_ends(repository: Any, client: Any) -> None:
    names = ["targets", *(f"role{number}" for number in range(40))]
    for parent, child in itertools.pairwise(names):
        repository.delegate(parent, child)
    repository.add("file", b"data", names[-1])
    repository.publish_all()
    assert not client.download("file")
    assert len(visited(repository)) <= 33


@pytest.mark.parametrize("role", ["?", "#", "/role", "../role", "../../metadata/timestamp", "a b"])
def test_unusual_role_name_stays_a_name(
    repository: Any, client: Any, role: str, tmp_path: Path
) -> None:
    before = {path for path in tmp_path.rglob("*") if client.cache not in path.parents}
    repository.delegate("targets", role)
    repository.add("file", b"data", role)
    repository.publish_all()
    assert client.download("file")
    after = {path for path in tmp_path.rglob("*") if client.cache not in path.parents}
    assert {path.name for path in after - before} == {"targets", "file"}


# One role, two delegators with keys of their own -------------------------------------------------


@pytest.fixture
def diamond(repository: Any) -> tuple[CryptoSigner, CryptoSigner]:
    """A and B delegate `a/*` and `b/*` to the same role C, each under a key of its own."""
    repository.delegate("targets", "A", ["a/*"])
    repository.delegate("targets", "B", ["b/*"])
    key_a = repository.delegate("A", "C", ["a/*"])
    key_b = repository.delegate("B", "C", ["b/*"])
    repository.add("a/file", b"for A", "C")
    repository.add("b/file", b"for B", "C")
    return key_a, key_b


def sign_c(repository: Any, *signers: CryptoSigner) -> None:
    repository.signers["C"] = list(signers)
    repository.publish_all()


def test_cached_role_is_verified_against_the_role_that_delegates_now(
    repository: Any, client: Any, diamond: tuple[CryptoSigner, CryptoSigner]
) -> None:
    sign_c(repository, diamond[0])
    assert client.download("a/file")
    assert not client.download("b/file")
    assert client.content() == [b"for A"]


def test_cached_role_is_verified_again_within_one_run(
    repository: Any, client: Any, diamond: tuple[CryptoSigner, CryptoSigner]
) -> None:
    sign_c(repository, diamond[0])
    assert not client.download("a/file", "b/file")
    assert client.content() == [b"for A"]


def test_role_signed_for_both_delegators_serves_both(
    repository: Any, client: Any, diamond: tuple[CryptoSigner, CryptoSigner]
) -> None:
    sign_c(repository, *diamond)
    assert client.download("a/file", "b/file")
    assert client.content() == [b"for A", b"for B"]


def test_bytes_that_one_delegator_vouches_for_do_not_serve_another(
    repository: Any, client: Any, diamond: tuple[CryptoSigner, CryptoSigner]
) -> None:
    """C of one version in two spellings, each under one key: a pair of names says too little."""
    sign_c(repository, diamond[0])
    assert client.download("a/file")
    (client.targets / "a%2Ffile").unlink()
    repository.add("a/file", b"B's idea of A's file", "C")
    repository.signers["C"] = [diamond[1]]
    repository.write("C")
    assert client.download("b/file")
    assert not client.download("a/file")
    assert client.content() == [b"for B"]


def test_spellings_that_change_within_one_run_are_told_apart(
    repository: Any, client: Any, diamond: tuple[CryptoSigner, CryptoSigner]
) -> None:
    sign_c(repository, diamond[0])
    honest = repository.fetch_bytes

    def changing(url: str, max_bytes: int) -> bytes:
        data: bytes = honest(url, max_bytes)
        if url.endswith(".C.json"):  # the next one to ask hears B's
            repository.add("a/file2", b"B's idea", "C")
            repository.signers["C"] = [diamond[1]]
            repository.write("C")
        return data

    repository.fetch_bytes = changing
    assert not client.download("a/file", "b/file", "a/file2")
    assert b"B's idea" not in client.content()


def test_cache_changed_on_disk_is_not_trusted(repository: Any, client: Any) -> None:
    repository.delegate("targets", "team")
    repository.add("file", b"data", "team")
    repository.publish_all()
    assert client.download("file")
    (client.targets / "file").unlink()
    honest = repository.saved()
    repository.add("file", b"evil", "team")
    repository.signers["team"] = [CryptoSigner.generate_ed25519()]
    (client.cache / "team.json").write_bytes(repository.write("team"))
    repository.files = {**repository.files, **honest}
    assert client.download("file")
    assert client.content() == [b"data"]
