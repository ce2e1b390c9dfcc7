"""Passwords of the broker, in the format of mosquitto's password file.

`user:$7$101$SALT$HASH`: PBKDF2 with HMAC-SHA512, salt and hash in base64 (mosquitto 2.0,
`src/password_mosq.c`). Our passwords are 256 random bits, so the iteration count guards nothing
that a dictionary could reach; 101 is mosquitto's own default.
"""

from __future__ import annotations

import base64
import binascii
import hashlib
import hmac
import secrets
from collections.abc import Mapping

ITERATIONS = 101
SALT_BYTES = 12


def new_password() -> str:
    """256 random bits as text."""
    return secrets.token_urlsafe(32)


def hash_password(password: str, salt: bytes, iterations: int = ITERATIONS) -> str:
    """The `$7$…` field of one line."""
    digest = hashlib.pbkdf2_hmac("sha512", password.encode(), salt, iterations)
    return f"$7${iterations}${_text(salt)}${_text(digest)}"


def verify_password(password: str, field: str) -> bool:
    """Whether `password` belongs to a `$7$…` field; a field of another shape fits nothing."""
    parts = field.split("$")
    if len(parts) != 5 or parts[:2] != ["", "7"] or not parts[2].isdigit():
        return False
    try:
        salt = base64.b64decode(parts[3], validate=True)
    except binascii.Error:
        return False
    expected = hash_password(password, salt, max(1, int(parts[2])))
    return hmac.compare_digest(expected, field)


def parse_password_file(text: str) -> dict[str, str]:
    """User to `$7$…` field; blank and broken lines are left out."""
    pairs = (line.partition(":") for line in text.splitlines())
    return {user: field for user, colon, field in pairs if colon and user and field}


def format_password_file(users: Mapping[str, str]) -> str:
    """The inverse of `parse_password_file`, sorted by user."""
    return "".join(f"{user}:{users[user]}\n" for user in sorted(users))


def _text(data: bytes) -> str:
    return base64.b64encode(data).decode("ascii")
