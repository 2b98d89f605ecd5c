"""What schemathesis uploads: noise, and now and then a recording, so that answers are looked at too."""

from __future__ import annotations

import schemathesis
from hypothesis import strategies

from tests.conformance import sounds

_RECORDINGS = strategies.sampled_from([sounds.ONE_SECOND, sounds.TWO_CALLS, sounds.wav(sounds.tone(2.5))])
_UPLOADS = strategies.one_of(strategies.binary(), _RECORDINGS)

schemathesis.openapi.format("binary", _UPLOADS)
for content_type in ("application/octet-stream", "audio/wav", "audio/x-wav", "audio/flac"):
    schemathesis.openapi.media_type(content_type, _UPLOADS)
