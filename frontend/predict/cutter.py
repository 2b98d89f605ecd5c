"""A file -> the windows that the model gets of it, and all that they depend on besides the file."""

from __future__ import annotations

import functools

from engine.config import Settings
from engine.errors import InvalidField
from engine.spec import ModelDescription
from engine.stores.cache_key import CacheScope
from frontend.audio.decode import Claim, Recording, decode, decode_in_place
from frontend.audio.segment import SHORT_FILE_BYTES, Window, bytes_to_cut, is_quickly_cut, segment_recording
from frontend.predict.dialect import Dialect
from frontend.predict.parameters import Parameters
from frontend.server.decoding_room import UNRESERVED_BYTES
from frontend.server.message import HttpRequest
from frontend.server.refusals import TooManyUploads

_KNOWN_SCOPES = 256  # overlaps are the callers' to name; few of them, or the table begins anew


class RoomNeeded(TooManyUploads):
    """Too many uploads at once"""

    def __init__(self, text: str = "", *, size_bytes: int = 0) -> None:
        super().__init__(text)
        self.size_bytes = size_bytes


class Cutter:
    """Of one route. Stateless but for what it has worked out before: any thread may call it.

    Whatever it reads of a request, of its settings or of the model must be in `scope` too, or else a cached answer is
    given for windows that were cut in another way.
    """

    def __init__(self, dialect: Dialect, settings: Settings) -> None:
        self._settings = settings
        self._max_duration_s = dialect.max_duration_s
        self._require_wav = dialect.require_wav
        self._segmentation = settings.segmentation or dialect.default_segmentation
        # Sole mutator: `scope_digest`. Two threads may work the same out, which costs nothing but the time.
        self._digests: dict[tuple[str, str, float], tuple[ModelDescription, bytes]] = {}

    def recording(
        self, request: HttpRequest, data: memoryview, parameters: Parameters, description: ModelDescription, quick: bool
    ) -> Recording | None:
        """None: it takes longer than `quick` allows, to decode or to cut. Raises CallerError and RoomNeeded."""
        max_duration_s = self._max_duration_s
        if quick:
            found = decode_in_place(data, max_duration_s=max_duration_s) if len(data) <= SHORT_FILE_BYTES else None
            is_quick = found is not None and is_quickly_cut(
                found,
                sample_rate_hz=description.sample_rate_hz,
                window_frames=description.input_shape[0],
                overlap_s=parameters.overlap_s,
                mode=parameters.segmentation or self._segmentation,
            )
            return found if is_quick else None
        check_room = None
        if request.room is None:
            check_room = functools.partial(self._check_room, parameters, description)
        return decode_in_place(data, max_duration_s=max_duration_s, check_room=check_room) or decode(
            data,
            max_duration_s=max_duration_s or self._longest_s(parameters, description),
            max_decoded_bytes=self._settings.max_decoded_bytes,
            require_wav=self._require_wav,
            check_room=check_room,
        )

    def windows(self, recording: Recording, parameters: Parameters, description: ModelDescription) -> list[Window]:
        """At least one. Raises CallerError."""
        if not description.is_waveform:
            raise InvalidField("deployment takes arrays, not sound", field="deployment")
        settings = self._settings
        return segment_recording(
            recording,
            sample_rate_hz=description.sample_rate_hz,
            # What the model takes decides, also where a factory's segment_s says something else.
            segment_s=description.input_shape[0] / description.sample_rate_hz,
            mode=parameters.segmentation or self._segmentation,
            overlap_s=parameters.overlap_s,
            min_window_s=settings.min_window_s,
            peak_normalise=description.peak_normalise,
            max_segments=settings.max_segments,
            max_decoded_bytes=settings.max_decoded_bytes,
        )

    def scope_digest(self, parameters: Parameters, description: ModelDescription) -> bytes:
        """The digest of `scope`."""
        asked = (parameters.deployment, parameters.segmentation, parameters.overlap_s)
        known = self._digests.get(asked)
        if known is not None and known[0] is description:
            return known[1]
        if len(self._digests) >= _KNOWN_SCOPES:
            self._digests = {}
        digest = self.scope(parameters, description).digest()
        self._digests[asked] = (description, digest)
        return digest

    def scope(self, parameters: Parameters, description: ModelDescription) -> CacheScope:
        """All that `recording` and `windows` go by, and what the model answers by."""
        settings = self._settings
        return CacheScope(
            deployment=parameters.deployment,
            model_version=description.model_version,
            activation=description.activation.value,
            classes=description.classes,
            input_shape=description.input_shape,
            sample_rate_hz=description.sample_rate_hz,
            peak_normalise=description.peak_normalise,
            segmentation=parameters.segmentation or self._segmentation,
            overlap_s=parameters.overlap_s,
            min_window_s=settings.min_window_s,
            max_segments=settings.max_segments,
            max_duration_s=self._max_duration_s,
            max_decoded_bytes=settings.max_decoded_bytes,
            require_wav=self._require_wav,
        )

    def _check_room(self, parameters: Parameters, description: ModelDescription, claim: Claim) -> None:
        """Raises RoomNeeded for a recording that is not to be decoded before there is room for that."""
        mode = parameters.segmentation or self._segmentation
        rate_hz = description.sample_rate_hz or claim.sample_rate_hz
        size_bytes = claim.spent_bytes + bytes_to_cut(claim, sample_rate_hz=rate_hz, mode=mode)
        if size_bytes > UNRESERVED_BYTES:
            raise RoomNeeded(size_bytes=size_bytes)

    def _longest_s(self, parameters: Parameters, description: ModelDescription) -> float:
        """What is longer has more windows than are computed, so that decoding it would be in vain. 0: unknown."""
        if not description.is_waveform:
            return 0.0
        segment_s = description.input_shape[0] / description.sample_rate_hz
        by_silence = (parameters.segmentation or self._segmentation) == "silence"
        hop_s = segment_s if by_silence else segment_s - parameters.overlap_s
        return max(0.0, (self._settings.max_segments + 1) * hop_s + segment_s)
