"""Errors of the fleet room.

FleetError
├── FleetFolderError     the fleet folder is missing, incomplete or already in use
├── BrokerError          the broker did not start, or went away
├── ReleaseError         a bundle cannot become a release
├── RolloutError         a rollout cannot be made or moved
├── UnknownDeviceError   no such device
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


class RolloutError(FleetError):
    """A rollout cannot be made or moved."""


class UnknownDeviceError(FleetError):
    """No such device."""


class ApiError(FleetError):
    """The server refused or could not be reached."""
