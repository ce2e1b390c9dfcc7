"""What runs on a device: the bundle, the model contract, engines, telemetry, drift, the agent.

Names are loaded when they are first used, so that importing this package costs nothing.
"""

from __future__ import annotations

import importlib
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from .bundle import Bundle, open_bundle
    from .contract import Affine, Contract, TensorSpec
    from .errors import ContractError, EngineError, RuntimeRoomError
    from .model import GoldenResult, Model
    from .options import EngineOptions
    from .prediction import Prediction
    from .report_folder import ReportFolder
    from .session import LiveSession
    from .watch import Watch

__all__ = [
    "Affine",
    "Bundle",
    "Contract",
    "ContractError",
    "EngineError",
    "EngineOptions",
    "GoldenResult",
    "LiveSession",
    "Model",
    "Prediction",
    "ReportFolder",
    "RuntimeRoomError",
    "TensorSpec",
    "Watch",
    "open_bundle",
]

_HOMES = {
    "Affine": "contract",
    "Bundle": "bundle",
    "Contract": "contract",
    "ContractError": "errors",
    "EngineError": "errors",
    "EngineOptions": "options",
    "GoldenResult": "model",
    "LiveSession": "session",
    "Model": "model",
    "Prediction": "prediction",
    "ReportFolder": "report_folder",
    "RuntimeRoomError": "errors",
    "TensorSpec": "contract",
    "Watch": "watch",
    "open_bundle": "bundle",
}


def __getattr__(name: str) -> object:
    if name not in _HOMES:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    return getattr(importlib.import_module(f".{_HOMES[name]}", __name__), name)


def __dir__() -> list[str]:
    return __all__
