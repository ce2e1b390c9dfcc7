"""The private broker: mosquitto where it is installed, else amqtt in a process of its own.

Both listen on loopback only, read the same password and access files, and die with the server.
Linux ends a child when the *thread* that started it ends, so start the broker from a thread that
lives as long as the server.
"""

from __future__ import annotations

import os
import pwd
import shutil
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from pathlib import Path

from edgekiln.runtime.files import write_atomic

from .acl import SERVER_USER, access_file
from .authority import authority_file, broker_files, ensure_authority, now_utc, revoked_file
from .errors import BrokerError
from .folder import LOOPBACK, FleetFolder
from .passwords import (
    SALT_BYTES,
    format_password_file,
    hash_password,
    new_password,
    parse_password_file,
)

START_TIMEOUT_S = 15.0
STOP_TIMEOUT_S = 5.0

# Run before the broker itself: die with the parent, allow as many connections as the system does.
# argv: parent's pid, then the command.
LAUNCHER = """
import os, resource, sys
parent, command = int(sys.argv[1]), sys.argv[2:]
if sys.platform == "linux":
    import ctypes, signal
    ctypes.CDLL(None).prctl(1, signal.SIGTERM)
    if os.getppid() != parent:
        sys.exit(1)
soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
resource.setrlimit(resource.RLIMIT_NOFILE, (hard, hard))
os.execv(command[0], command)
"""


@dataclass(frozen=True, slots=True)
class Broker:
    """A running broker child."""

    host: str
    port: int
    kind: str  # mosquitto | amqtt
    process: subprocess.Popen[bytes]
    pid_file: Path

    def alive(self) -> bool:
        """Whether the child still runs."""
        return self.process.poll() is None

    def stop(self) -> None:
        """End the child; twice is fine."""
        self.pid_file.unlink(missing_ok=True)
        if self.alive():
            self.process.terminate()
        try:
            self.process.wait(STOP_TIMEOUT_S)
        except subprocess.TimeoutExpired:
            self.process.kill()
            self.process.wait()


def mosquitto_path() -> str | None:
    """Where mosquitto is; Debian keeps it in a folder that users do not have in PATH."""
    places = (os.environ.get("PATH", ""), "/usr/sbin", "/usr/local/sbin")
    return shutil.which("mosquitto", path=os.pathsep.join(places))


def start_broker(folder: FleetFolder, mosquitto: str | None = None) -> Broker:
    """Start the broker and wait until it answers.

    Args:
        folder: whose port, passwords and access rules to use.
        mosquitto: the program; None looks for it and falls back to amqtt.

    Raises:
        BrokerError: the port is taken, or the child did not start.
    """
    program = mosquitto or mosquitto_path()
    port = folder.settings.broker.port
    _check_port(folder, port)
    if program is None:
        if folder.settings.broker.public:
            msg = "public_host in fleet.toml needs mosquitto, which is not installed"
            raise BrokerError(f"{msg}; install it or take public_host out")
        return start_amqtt(folder)
    if folder.settings.broker.public:
        ensure_authority(folder, now_utc())
    config = folder.broker / "mosquitto.conf"
    write_atomic(config, _mosquitto_config(folder).encode())
    return _launch(folder, "mosquitto", (program, "-c", str(config)))


def start_amqtt(folder: FleetFolder) -> Broker:
    """Start the pure Python broker, whatever else is installed.

    Raises:
        BrokerError: as `start_broker`, or amqtt is not installed.
    """
    port = folder.settings.broker.port
    _check_port(folder, port)
    module = "edgekiln.fleet.broker_amqtt"
    command = (sys.executable, "-m", module, str(folder.broker), str(port))
    return _launch(folder, "amqtt", command)


def write_access_files(folder: FleetFolder) -> None:
    """Write access rules and the server's own credentials into a new fleet folder."""
    folder.broker.mkdir(mode=0o700)
    rules = access_file(folder.tenant)
    write_atomic(folder.broker / "acl", rules.encode(), 0o600)
    write_atomic(folder.broker / "passwords", b"", 0o600)
    password = new_password()
    write_atomic(server_password_file(folder), f"{password}\n".encode(), 0o600)
    set_passwords(folder, {SERVER_USER: password})


def set_access(folder: FleetFolder, revoked: Iterable[str]) -> None:
    """Write the access rules anew and tell a running broker of this folder."""
    rules = access_file(folder.tenant, revoked)
    write_atomic(folder.broker / "acl", rules.encode(), 0o600)
    reload_broker(folder)


def remove_passwords(folder: FleetFolder, names: Iterable[str]) -> None:
    """Take users out of the password file and tell a running broker of this folder."""
    file = folder.broker / "passwords"
    with folder.changing_credentials():
        users = parse_password_file(file.read_text(encoding="utf-8"))
        gone = users.keys() & set(names)
        left = {user: field for user, field in users.items() if user not in gone}
        if gone:
            write_atomic(file, format_password_file(left).encode(), 0o600)
    if gone:
        reload_broker(folder)


def server_password_file(folder: FleetFolder) -> Path:
    """Password of the server's own broker user."""
    return folder.broker / "server.password"


def set_passwords(folder: FleetFolder, passwords: Mapping[str, str]) -> None:
    """Add or replace users in the password file and tell a running broker of this folder."""
    file = folder.broker / "passwords"
    hashed = {
        user: hash_password(password, os.urandom(SALT_BYTES))
        for user, password in passwords.items()
    }
    with folder.changing_credentials():
        users = parse_password_file(file.read_text(encoding="utf-8")) | hashed
        write_atomic(file, format_password_file(users).encode(), 0o600)
    reload_broker(folder)


def reload_broker(folder: FleetFolder) -> None:
    """Have a running broker read its files again; nothing happens where none runs."""
    try:
        pid = int(_pid_file(folder).read_text(encoding="ascii"))
        command = Path(f"/proc/{pid}/cmdline").read_bytes()
    except (OSError, ValueError):
        return
    # A process id may have been given to somebody else: our broker names our folder.
    if os.fsencode(folder.broker) in command:
        os.kill(pid, signal.SIGHUP)


def _tls_listeners(folder: FleetFolder) -> str:
    """Devices with a certificate are who it says; those with a token log in with it."""
    settings = folder.settings.broker
    if not settings.public:
        return ""
    certificate, key = broker_files(folder)
    tls = (
        f"cafile {authority_file(folder)}\n"
        f"certfile {certificate}\n"
        f"keyfile {key}\n"
        "tls_version tlsv1.2\n"
    )
    return (
        f"listener {settings.tls_port}\n{tls}"
        f"crlfile {revoked_file(folder)}\n"
        "require_certificate true\nuse_identity_as_username true\n"
        f"listener {settings.enrol_port}\n{tls}"
    )


def _mosquitto_config(folder: FleetFolder) -> str:
    place = folder.broker
    # Started by root, mosquitto becomes the user `mosquitto`, who cannot read our files.
    user = pwd.getpwuid(os.getuid()).pw_name
    return (
        f"user {user}\n"
        "per_listener_settings false\n"
        f"listener {folder.settings.broker.port} {LOOPBACK}\n"
        f"{_tls_listeners(folder)}"
        "allow_anonymous false\n"
        f"password_file {place / 'passwords'}\n"
        f"acl_file {place / 'acl'}\n"
        "persistence false\n"  # the server publishes its retained documents again at each start
        "max_queued_messages 10000\n"
        "max_packet_size 1048576\n"
        "set_tcp_nodelay true\n"  # blocks are small: Nagle's algorithm would hold each for 40 ms
        f"log_dest file {place / 'broker.log'}\n"
        "log_type error\nlog_type warning\nlog_type notice\n"
        "connection_messages false\n"
    )


def _launch(folder: FleetFolder, kind: str, command: tuple[str, ...]) -> Broker:
    launcher = (sys.executable, "-I", "-S", "-c", LAUNCHER, str(os.getpid()))
    errors = folder.broker / "broker.err"
    with errors.open("wb") as stderr:
        process = subprocess.Popen(
            launcher + command,
            stdin=subprocess.DEVNULL,
            stdout=stderr,
            stderr=stderr,
            start_new_session=True,  # a Ctrl-C is the server's to handle, which then ends us
        )
    broker = Broker(LOOPBACK, folder.settings.broker.port, kind, process, _pid_file(folder))
    deadline = time.monotonic() + START_TIMEOUT_S
    while not _answers(broker.port):
        if not broker.alive() or time.monotonic() > deadline:
            broker.stop()
            log = folder.broker / "broker.log" if kind == "mosquitto" else errors
            raise BrokerError(f"{kind} did not start: {_last_line(errors, log)}")
        time.sleep(0.02)
    write_atomic(broker.pid_file, str(process.pid).encode())
    return broker


def _check_port(folder: FleetFolder, port: int) -> None:
    with socket.socket() as probe:
        probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        try:
            probe.bind((LOOPBACK, port))
        except OSError as error:
            msg = (
                f"the broker's port {port} on {LOOPBACK} cannot be used ({error.strerror}); "
                f"choose another under [broker] in {folder.path / 'fleet.toml'}"
            )
            raise BrokerError(msg) from error


def _answers(port: int) -> bool:
    try:
        socket.create_connection((LOOPBACK, port), timeout=1.0).close()
    except OSError:
        return False
    return True


def _last_line(*files: Path) -> str:
    for file in files:
        if file.exists():
            lines = file.read_text(encoding="utf-8", errors="replace").split("\n")
            spoken = [line.strip() for line in lines if line.strip()]
            if spoken:
                return f"{spoken[-1]} (see {file})"
    return "it said nothing"


def _pid_file(folder: FleetFolder) -> Path:
    return folder.broker / "broker.pid"
