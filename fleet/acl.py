"""Who may publish and subscribe where: one access file, read by mosquitto and by our fallback.

A device's topics are bound to the user it logged in as, never to what a message says.
"""

from __future__ import annotations

import enum
from collections.abc import Iterable
from dataclasses import dataclass

from edgekiln.runtime.protocol import ROOT, Topics

SERVER_USER = "fleet"  # no device can take this name, see enrol.py


class Access(enum.StrEnum):
    """What a client asks for."""

    READ = "read"
    WRITE = "write"


@dataclass(frozen=True, slots=True)
class Rule:
    """One line: `access` to `filter`; `user` None is a pattern, where %u stands for the user.

    A rule that gives no access takes away what any other gives.
    """

    user: str | None
    access: frozenset[Access]
    filter: str


_GIVEN = {
    "read": frozenset({Access.READ}),
    "write": frozenset({Access.WRITE}),
    "readwrite": frozenset(Access),
    "deny": frozenset(),
}


def access_file(tenant: str, revoked: Iterable[str] = ()) -> str:
    """The access file of a tenant, in mosquitto's format; who is `revoked` may nothing."""
    topics = Topics(tenant)
    denied = "".join(f"user {user}\ntopic deny #\n\n" for user in sorted(revoked))
    return (
        f"user {SERVER_USER}\n"
        f"topic readwrite {ROOT}/{tenant}/#\n\n"
        f"{denied}"
        f"pattern write {topics.up('%u', '#')}\n"
        f"pattern read {topics.down('%u', '#')}\n"
        f"pattern read {topics.cohort('+', '#')}\n"
    )


def parse_access_file(text: str) -> tuple[Rule, ...]:
    """Rules of an access file as written by `access_file`; unknown lines give no rights."""
    rules: list[Rule] = []
    user: str | None = None
    for line in text.splitlines():
        words = line.split()
        if len(words) == 2 and words[0] == "user":
            user = words[1]
        elif len(words) == 3 and words[0] in ("topic", "pattern"):
            wanted = _GIVEN[words[1]]
            owner = user if words[0] == "topic" else None
            rules.append(Rule(owner, wanted, words[2]))
    return tuple(rules)


def allows(rules: tuple[Rule, ...], user: str, access: Access, topic: str) -> bool:
    """Whether `user` may read or write `topic`, which may itself be a subscription filter."""
    if any(rule.user == user and not rule.access and covers(rule.filter, topic) for rule in rules):
        return False
    return any(
        access in rule.access
        and rule.user in (None, user)
        and covers(rule.filter.replace("%u", user), topic)
        for rule in rules
    )


def covers(allowed: str, asked: str) -> bool:
    """Whether every topic that matches filter `asked` also matches filter `allowed`."""
    rights, wish = allowed.split("/"), asked.split("/")
    for index, right in enumerate(rights):
        if right == "#":
            return True
        if index == len(wish) or wish[index] == "#":
            return False
        if right != "+" and right != wish[index]:
            return False
    return len(rights) == len(wish)
