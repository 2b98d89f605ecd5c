"""OpenVINO without what it tells its makers: the only module that imports it.

As it comes it sends to Google Analytics that it was imported, from a thread of its own, and keeps an identifier in the
home folder. It has no switch for it but does without the package that sends, as where that is not installed.
"""

from __future__ import annotations

import sys

if "openvino" not in sys.modules:
    sys.modules["openvino_telemetry"] = None  # type: ignore[assignment]

import openvino  # noqa: E402  not before the package that sends is out of its way

__all__ = ["openvino"]
