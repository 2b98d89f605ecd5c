"""Which of all the requests that are remembered are worth reading, chosen by four words of each.

A machine of 64 frontends remembers eleven thousand, and a look shows a hundred and fifty. To read them all took a fifth
of a second of the interpreter, in which the supervisor's loop hardly moved.
"""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from engine.observe.recent_requests import FIRST_ERROR_STATUS, SLOW_WITHIN_NS
from engine.shm.machine_layout import REQUEST_PLACES
from engine.shm.request_record import AT_BYTE, STATUS_BYTE, TOTAL_BYTE
from engine.shm.words import WORD_BYTES

_COLUMNS = [0, *(1 + byte // WORD_BYTES for byte in (AT_BYTE, TOTAL_BYTE, STATUS_BYTE))]
_STATUS_SHIFT, _STATUS_MASK = np.uint64(8 * (STATUS_BYTE % WORD_BYTES)), np.uint64(0xFFFF)
_ROW_SHIFT = np.uint64(48)  # a word is twice the number of a request, which no process brings so far


def chosen(rings: NDArray[np.uint64], rows: list[int], limit: int) -> list[tuple[int, int]]:
    """Row and place of the newest, the slowest and the failed requests, `limit` of each, in no order.

    `rings`: `[all rows, REQUEST_PLACES, words of a place]`, of which nothing is read but `rows`. What is written
    meanwhile may be left out, and another request may lie in a place by the time that it is read.
    """
    which = np.array(rows, np.intp)
    words, at_ns, total_ns, status = (rings[which, :, column].ravel() for column in _COLUMNS)
    unchanged = words == rings[which, :, 0].ravel()
    keys = words | np.repeat(which.astype(np.uint64), REQUEST_PLACES) << _ROW_SHIFT
    _, once = np.unique(keys, return_index=True)  # some are in two places, under the same number
    found = once[(unchanged & (words > 0) & (words % 2 == 0))[once]]
    newest_first = found[np.argsort(at_ns[found])[::-1]]
    failed = newest_first[(status >> _STATUS_SHIFT & _STATUS_MASK)[newest_first] >= FIRST_ERROR_STATUS]
    since_ns = int(at_ns[newest_first[:1]].sum()) - SLOW_WITHIN_NS
    recent = newest_first[at_ns[newest_first] >= max(0, since_ns + 1)]
    slowest = recent[np.argsort(total_ns[recent])[::-1]]
    best = np.union1d(np.union1d(newest_first[:limit], failed[:limit]), slowest[:limit])
    return [(rows[each // REQUEST_PLACES], each % REQUEST_PLACES) for each in best.tolist()]
