"""Our own application in a process without garbage collector: what a request leaves in a circle stays for ever."""

from __future__ import annotations

import gc

from frontend.app import create_app
from frontend.lane.fast_lane import fast_lane

gc.disable()
application = fast_lane(create_app())
