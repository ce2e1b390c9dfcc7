"""amqtt as the private broker, with the same password and access files as mosquitto.

Runs as `python -m edgekiln.fleet.broker_amqtt FOLDER PORT`. MQTT 3.1.1 only. Passwords are read
again when their file changes, so a new device needs no restart.
"""

from __future__ import annotations

import asyncio
import logging
import signal
import sys
import warnings
from dataclasses import dataclass
from pathlib import Path

from amqtt.broker import Broker
from amqtt.contexts import Action
from amqtt.plugins.base import BaseAuthPlugin, BaseTopicPlugin
from amqtt.session import Session

from edgekiln.fleet.acl import Access, Rule, allows, parse_access_file
from edgekiln.fleet.folder import LOOPBACK
from edgekiln.fleet.passwords import parse_password_file, verify_password

ACCESS = {
    Action.PUBLISH: Access.WRITE,
    Action.SUBSCRIBE: Access.READ,
    Action.RECEIVE: Access.READ,
}


def read_rules(folder: Path) -> tuple[Rule, ...]:
    """The access file of a broker folder."""
    return parse_access_file((folder / "acl").read_text(encoding="utf-8"))


class PasswordFile(BaseAuthPlugin):  # type: ignore[misc]  # amqtt is not typed for mypy
    """Logs in who the password file knows; a last will must lie within the user's rights."""

    @dataclass
    class Config:
        """`folder` is the broker folder."""

        folder: str = ""

    async def authenticate(self, *, session: Session) -> bool:
        """Whether user and password fit."""
        folder = Path(self.config.folder)
        users = parse_password_file((folder / "passwords").read_text(encoding="utf-8"))
        user, password = session.username or "", session.password or ""
        if not verify_password(password, users.get(user, "")):
            return False
        # amqtt publishes wills without asking the topic plugins.
        will = session.will_topic if session.will_flag else None
        return will is None or allows(read_rules(folder), user, Access.WRITE, will)


class AccessFile(BaseTopicPlugin):  # type: ignore[misc]
    """Allows what the access file allows."""

    @dataclass
    class Config:
        """`folder` is the broker folder."""

        folder: str = ""

    async def topic_filtering(
        self,
        *,
        session: Session | None = None,
        topic: str | None = None,
        action: Action | None = None,
    ) -> bool:
        """Whether this user may do this with this topic."""
        if session is None or topic is None or action is None or not session.username:
            return False
        rules = self._rules()
        return allows(rules, session.username, ACCESS[action], topic)

    def _rules(self) -> tuple[Rule, ...]:
        """Read again when the file has changed: a device may have been revoked."""
        folder = Path(self.config.folder)
        stamp = (folder / "acl").stat().st_mtime_ns
        known: tuple[int, tuple[Rule, ...]] | None = getattr(self, "_read", None)
        if known is None or known[0] != stamp:
            known = self._read = (stamp, read_rules(folder))
        return known[1]


async def serve(folder: Path, port: int) -> None:
    """Run until SIGTERM."""
    here = "edgekiln.fleet.broker_amqtt"
    options = {"folder": str(folder)}
    config = {
        "listeners": {"default": {"type": "tcp", "bind": f"{LOOPBACK}:{port}"}},
        "plugins": {f"{here}.PasswordFile": options, f"{here}.AccessFile": options},
    }
    broker = Broker(config)
    loop, stopped = asyncio.get_running_loop(), asyncio.Event()
    loop.add_signal_handler(signal.SIGTERM, stopped.set)
    loop.add_signal_handler(signal.SIGHUP, lambda: None)  # the files are read at each login
    await broker.start()
    await stopped.wait()
    await broker.shutdown()


def main() -> None:
    """Entry of the child process."""
    logging.basicConfig(level=logging.WARNING)
    logging.getLogger("transitions").setLevel(logging.ERROR)
    warnings.simplefilter("ignore")
    asyncio.run(serve(Path(sys.argv[1]), int(sys.argv[2])))


if __name__ == "__main__":
    main()
