"""Errors of the runtime room.

RuntimeRoomError
├── BundleError               a bundle cannot be trusted or read
│   ├── NotABundleError       not a zip, or no manifest
│   ├── SchemaVersionError    an unknown major schema version
│   ├── MemberError           a missing, extra or misplaced member
│   ├── DigestError           a member's bytes differ from the manifest
│   └── SizeLimitError        a member or the file is over its limit
├── ContractError             an input breaks the model's contract
├── EngineError               no engine can run an artifact on this device
├── ProtocolError             a message cannot be decoded
├── TrustError                a signature, a role or a counter says no
│   └── StaleMetadataError    the signed metadata has expired
├── AgentError                the update agent cannot go on
│   ├── JournalError          the journal cannot be read or written
│   └── TransferError         a file of the repository cannot be fetched now
│       ├── AbsentFileError   the repository has no such file
│       └── MirrorError       a mirror does not give a file over HTTP
├── DeltaError                a delta is damaged, or not one for its base
├── DriftStateError           a saved drift state is damaged or of another model
├── SourceError               the samples to run on cannot be read
├── DeviceConfigError         a device folder is missing, incomplete or wrong
└── EnrolError                a device cannot get, or renew, its identity
"""

from __future__ import annotations


class RuntimeRoomError(Exception):
    """Root of everything this room raises; its text is one line for the user."""


class BundleError(RuntimeRoomError):
    """A bundle cannot be trusted or read."""


class NotABundleError(BundleError):
    """Not a zip, or no manifest."""


class SchemaVersionError(BundleError):
    """An unknown major schema version."""


class MemberError(BundleError):
    """A missing, extra or misplaced member."""


class DigestError(BundleError):
    """A member's bytes differ from the manifest."""


class SizeLimitError(BundleError):
    """A member or the file is over its limit."""


class ContractError(RuntimeRoomError):
    """An input breaks the model's contract; `rule` is a field of `protocol.BrokenRules`."""

    def __init__(self, message: str, rule: str = "other") -> None:
        super().__init__(message)
        self.rule = rule


class EngineError(RuntimeRoomError):
    """No engine can run an artifact on this device."""


class ProtocolError(RuntimeRoomError):
    """A message cannot be decoded."""


class TrustError(RuntimeRoomError):
    """A signature, a role or a counter says no."""


class StaleMetadataError(TrustError):
    """The signed metadata has expired."""


class AgentError(RuntimeRoomError):
    """The update agent cannot go on."""


class HoldError(AgentError):
    """The device must not begin to test a model now."""


class JournalError(AgentError):
    """The journal cannot be read or written."""


class TransferError(AgentError):
    """A file of the repository cannot be fetched now."""


class AbsentFileError(TransferError):
    """The repository has no such file."""


class MirrorError(TransferError):
    """A mirror does not give a file over HTTP.

    `status` is what it answered, 0 where it did not; `retry_after_s` the wait that it asked for.
    """

    def __init__(self, text: str, status: int = 0, retry_after_s: float | None = None) -> None:
        super().__init__(text)
        self.status = status
        self.retry_after_s = retry_after_s


class DeltaError(RuntimeRoomError):
    """A delta is damaged, or not one for its base."""


class DriftStateError(RuntimeRoomError):
    """A saved drift state is damaged, or belongs to another model."""


class SourceError(RuntimeRoomError):
    """The samples to run on cannot be read."""


class DeviceConfigError(RuntimeRoomError):
    """A device folder is missing, incomplete or wrong."""


class EnrolError(RuntimeRoomError):
    """A device cannot get, or renew, its identity."""
