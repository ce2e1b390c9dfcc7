from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from edgekiln.fleet.acl import Access, access_file, allows, covers, parse_access_file

RULES = parse_access_file(access_file("default"))
PLACE = "edgekiln/v1/default"


@pytest.mark.parametrize(
    ("access", "topic", "allowed"),
    [
        (Access.WRITE, f"{PLACE}/d/a/up/report", True),
        (Access.WRITE, f"{PLACE}/d/b/up/report", False),
        (Access.WRITE, f"{PLACE}/d/a/dn/command", False),
        (Access.WRITE, f"{PLACE}/c/all/rollout", False),
        (Access.WRITE, "edgekiln/v1/other/d/a/up/report", False),
        (Access.READ, f"{PLACE}/d/a/dn/#", True),
        (Access.READ, f"{PLACE}/d/a/dn/command", True),
        (Access.READ, f"{PLACE}/d/b/dn/command", False),
        (Access.READ, f"{PLACE}/d/+/dn/command", False),
        (Access.READ, f"{PLACE}/c/all/rollout", True),
        (Access.READ, f"{PLACE}/c/+/rollout", True),
        (Access.READ, f"{PLACE}/d/a/up/report", False),
        (Access.READ, f"{PLACE}/#", False),
        (Access.READ, "#", False),
        (Access.READ, "$SYS/#", False),
    ],
)
def test_device_may_only_what_is_its_own(access: Access, topic: str, allowed: bool) -> None:
    assert allows(RULES, "a", access, topic) is allowed


def test_server_may_everything_of_its_tenant_and_nothing_else() -> None:
    for access in Access:
        assert allows(RULES, "fleet", access, f"{PLACE}/#")
        assert not allows(RULES, "fleet", access, "edgekiln/v1/other/x")


LEVEL = st.sampled_from(["a", "b", "+"])
FILTERS = st.tuples(st.lists(LEVEL, min_size=1, max_size=3), st.booleans()).map(
    lambda parts: "/".join([*parts[0], *(["#"] if parts[1] else [])])
)


@given(FILTERS, FILTERS, st.lists(st.sampled_from(["a", "b"]), min_size=1, max_size=4))
def test_covers_implies_every_matching_topic(allowed: str, asked: str, topic: list[str]) -> None:
    name = "/".join(topic)
    if covers(allowed, asked) and covers(asked, name):
        assert covers(allowed, name)


@pytest.mark.parametrize("access", list(Access))
def test_device_may_nothing_when_it_is_revoked(access: Access) -> None:
    rules = parse_access_file(access_file("default", ("a",)))
    for topic in (f"{PLACE}/d/a/up/report", f"{PLACE}/d/a/dn/block", f"{PLACE}/c/all/rollout"):
        assert not allows(rules, "a", access, topic)
    assert allows(rules, "b", Access.WRITE, f"{PLACE}/d/b/up/report")
    assert allows(rules, "fleet", access, f"{PLACE}/#")


def test_device_sends_captures_as_itself_only_and_reads_nobodys() -> None:
    rules = parse_access_file(access_file("default", ()))
    assert allows(rules, "a", Access.WRITE, f"{PLACE}/d/a/up/capture")
    assert not allows(rules, "a", Access.WRITE, f"{PLACE}/d/b/up/capture")
    assert not allows(rules, "a", Access.READ, f"{PLACE}/d/a/up/capture")
    assert not allows(rules, "a", Access.READ, f"{PLACE}/d/+/up/capture")
