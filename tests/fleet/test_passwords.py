"""Passwords in mosquitto's own format, with its own tool as the judge where it is installed."""

from __future__ import annotations

import base64
import hashlib

from hypothesis import given, settings
from hypothesis import strategies as st

from edgekiln.fleet.passwords import (
    format_password_file,
    hash_password,
    parse_password_file,
    verify_password,
)


def test_hash_is_pbkdf2_sha512_when_computed_by_the_standard_library() -> None:
    salt = bytes(range(12))
    digest = hashlib.pbkdf2_hmac("sha512", b"secret", salt, 101)
    expected = f"$7$101${base64.b64encode(salt).decode()}${base64.b64encode(digest).decode()}"
    assert hash_password("secret", salt) == expected


@settings(max_examples=30, deadline=None)
@given(st.text(max_size=20), st.text(max_size=20), st.binary(min_size=12, max_size=12))
def test_verify_accepts_only_the_same_password(one: str, other: str, salt: bytes) -> None:
    field = hash_password(one, salt)
    assert verify_password(one, field)
    assert verify_password(other, field) == (one == other)


@given(st.text(max_size=60))
def test_verify_refuses_when_the_field_is_anything_else(field: str) -> None:
    assert not verify_password("secret", field)


def test_file_round_trips_and_skips_broken_lines() -> None:
    users = {"b": "$7$101$c2FsdA==$aGFzaA==", "a": "$7$101$c2FsdA==$aGFzaDI="}
    text = format_password_file(users)
    assert text.startswith("a:")
    assert parse_password_file(text + "\nbroken\n:x\n") == users
