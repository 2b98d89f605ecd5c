"""The only way in which anything here imports onnxruntime and openvino: without what they report to their makers.

Imported as they are, ONNX Runtime keeps a database of events in the home folder and sends it to Microsoft, OpenVINO
sends the import itself to Google Analytics from a thread of its own. What an operator computes is nobody's business,
a machine in a forest has no network for it, and a service has no home folder.
"""

from __future__ import annotations

import importlib
import os
import sys
from types import ModuleType


def import_onnxruntime() -> ModuleType:
    """Raises ImportError where it is not installed. Some 30 MB: only for who computes with it."""
    os.environ["ORT_DISABLE_TELEMETRY"] = "1"  # read when the library is loaded
    return importlib.import_module("onnxruntime")


def import_openvino() -> ModuleType:
    """Raises ImportError where it is not installed. Some 50 MB: only for who computes with it."""
    if "openvino" not in sys.modules:
        # It does without the package that sends, as where that is not installed; it has no switch for it.
        sys.modules["openvino_telemetry"] = None  # type: ignore[assignment]
    return importlib.import_module("openvino")
