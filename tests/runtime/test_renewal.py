"""A device that runs renews its certificate by itself, and outlives every failure to."""

from __future__ import annotations

import threading
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest
from cryptography import x509
from cryptography.hazmat.primitives import hashes

from edgekiln.runtime import enrol_link, renewal
from edgekiln.runtime.errors import EnrolError
from edgekiln.runtime.identity import new_key, request_for, write_identity
from edgekiln.runtime.link import LinkConfig, TlsFiles

NOW = datetime(2031, 5, 1, tzinfo=UTC)
DAY_S = 86400.0


@pytest.fixture
def link(tmp_path: Path) -> LinkConfig:
    """A device whose certificate holds for 300 days from now on."""
    key, path = new_key(), tmp_path / "identity.pem"
    request = x509.load_pem_x509_csr(request_for(key, "cam-1"))
    made = (
        x509.CertificateBuilder()
        .subject_name(request.subject)
        .issuer_name(request.subject)
        .public_key(request.public_key())
        .serial_number(1)
        .not_valid_before(NOW)
        .not_valid_after(NOW + timedelta(days=300))
        .sign(key, hashes.SHA256())
    )
    from cryptography.hazmat.primitives.serialization import Encoding

    write_identity(path, key, made.public_bytes(Encoding.PEM))
    tls = TlsFiles(tmp_path / "authority.pem", path)
    return LinkConfig("localhost", 1, "cam-1", "", "cam-1", "default", (), tls)


@pytest.mark.parametrize(("day", "asked"), [(0, 0), (199, 0), (201, 1), (400, 1)])
def test_identity_is_asked_for_when_it_is_due(
    link: LinkConfig, monkeypatch: pytest.MonkeyPatch, day: int, asked: int
) -> None:
    calls: list[Path] = []
    monkeypatch.setattr(enrol_link, "renew_identity", lambda _, path: calls.append(path))
    assert renewal.renew_if_due(link, NOW.timestamp() + day * DAY_S) == bool(asked)
    assert len(calls) == asked


@pytest.mark.parametrize(
    "trouble", [EnrolError("the fleet does not answer"), OSError(28, "No space left on device")]
)
def test_failure_is_said_and_tried_again(
    link: LinkConfig,
    monkeypatch: pytest.MonkeyPatch,
    caplog: pytest.LogCaptureFixture,
    trouble: Exception,
) -> None:
    stop, tries = threading.Event(), 0

    def fail(*_: object) -> None:
        nonlocal tries
        tries += 1
        if tries == 3:
            stop.set()
        raise trouble

    monkeypatch.setattr(enrol_link, "renew_identity", fail)
    monkeypatch.setattr(renewal, "EVERY_S", 0.001)
    renewal.start_renewal(link, stop, lambda: NOW.timestamp() + 250 * DAY_S)
    assert stop.wait(10)
    assert "is not renewed yet" in caplog.text


def test_damaged_identity_and_a_clock_out_of_range_raise_nothing(link: LinkConfig) -> None:
    assert link.tls is not None
    assert link.tls.identity is not None
    assert not renewal.renew_if_due(link, 1e18)
    link.tls.identity.write_bytes(b"rotten")
    assert not renewal.renew_if_due(link, NOW.timestamp())


def test_nothing_is_started_for_a_device_with_a_password() -> None:
    link = LinkConfig("localhost", 1, "cam-1", "secret", "cam-1", "default", ())
    before = threading.active_count()
    renewal.start_renewal(link, threading.Event(), lambda: 0.0)
    assert threading.active_count() == before
