"""ONNX Runtime, which is imported from here and nowhere else.

Its official builds report what is done with them to their makers over HTTPS, from threads of their own and through a
database in the user's cache folder, unless this variable says otherwise when the library is loaded. Whoever has set it
has decided already.
"""

from __future__ import annotations

import os

os.environ.setdefault("ORT_DISABLE_TELEMETRY", "1")

import onnxruntime  # noqa: E402  the variable is read while this is imported

__all__ = ["onnxruntime"]
