"""Errors of the fleet room.

FleetError
├── FleetFolderError     the fleet folder is missing, incomplete or already in use
├── BrokerError          the broker did not start, or went away
├── ReleaseError         a bundle cannot become a release
│   └── RefusedReleaseError   its gate failed, and nobody took that on themselves
├── RolloutError         a rollout cannot be made or moved
├── UnknownError         what was asked for by name is not there
│   ├── UnknownDeviceError
│   ├── UnknownRolloutError   (a RolloutError, too)
│   └── UnknownAlertError
├── EnrolmentError       a device cannot be enrolled, renewed or revoked so
└── ApiError             the server refused or could not be reached
"""

from __future__ import annotations


class FleetError(Exception):
    """Root of everything this room raises; its text is one line for the user."""


class FleetFolderError(FleetError):
    """The fleet folder is missing, incomplete or already in use."""


class BrokerError(FleetError):
    """The broker did not start, or went away."""


class ReleaseError(FleetError):
    """A bundle cannot become a release."""


class RefusedReleaseError(ReleaseError):
    """The bundle's gate failed, and nobody took that on themselves."""


class RolloutError(FleetError):
    """A rollout cannot be made or moved."""


class UnknownError(FleetError):
    """What was asked for by name is not there."""


class UnknownDeviceError(UnknownError):
    """No such device."""


class UnknownRolloutError(RolloutError, UnknownError):
    """No such rollout."""


class UnknownAlertError(UnknownError):
    """No such alert."""


class EnrolmentError(FleetError):
    """A device cannot be enrolled, renewed or revoked so."""


class ApiError(FleetError):
    """The server refused or could not be reached."""
