"""What a service manager is told: that we are ready, how we are, that we are alive (sd_notify(3), systemd.service(5)).

One datagram each time, to the socket that it named in the environment. The names are taken out of the environment: our
children are none of its main processes, and gunicorn would say by them that it is ready before anything is.
"""

from __future__ import annotations

import logging
import os
import socket
from collections.abc import MutableMapping

_ADDRESS = "NOTIFY_SOCKET"
_WATCHDOG = "WATCHDOG_USEC"
_WATCHDOG_PID = "WATCHDOG_PID"
_US_PER_S = 1_000_000
_LONGEST_STATUS = 300  # characters of one line in `systemctl status`

_log = logging.getLogger(__name__)


class ServiceManager:
    """Whoever started this process and wants to hear of it; where nobody does, telling is a call that does nothing."""

    def __init__(self, address: str = "", *, watchdog_s: float = 0.0) -> None:
        """`address`: a path, or a name after an @. `watchdog_s`: how often it wants a sign of life; 0: never."""
        self._address = "\0" + address[1:] if address.startswith("@") else address
        self.watchdog_s = watchdog_s
        self._said_why = False

    @classmethod
    def taken_from(cls, environment: MutableMapping[str, str]) -> ServiceManager:
        """The one that `environment` names, which from then on names none."""
        address = environment.pop(_ADDRESS, "")
        every_us, watched = environment.pop(_WATCHDOG, ""), environment.pop(_WATCHDOG_PID, "")
        if not address.startswith(("/", "@")):  # vsock, and what else may come, is for machines
            return cls()
        if not every_us.isdecimal() or watched not in ("", str(os.getpid())):
            every_us = "0"
        return cls(address, watchdog_s=int(every_us) / _US_PER_S)

    @property
    def listens(self) -> bool:
        """Whether there is one."""
        return bool(self._address)

    def tell(self, *, ready: bool = False, alive: bool = False, stopping: bool = False, status: str = "") -> bool:
        """Says all that is given in one datagram, without waiting; whether it was taken."""
        lines = [line for said, line in ((ready, "READY=1"), (stopping, "STOPPING=1"), (alive, "WATCHDOG=1")) if said]
        if status:
            lines.append("STATUS=" + " ".join(status.split())[:_LONGEST_STATUS])
        return self._send("\n".join(lines).encode(errors="replace")) if self._address and lines else True

    def _send(self, datagram: bytes) -> bool:
        try:
            with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM | socket.SOCK_CLOEXEC) as sender:
                sender.sendto(datagram, socket.MSG_DONTWAIT | socket.MSG_NOSIGNAL, self._address)
        except BlockingIOError:  # it has not read yet what others have said
            return False
        except OSError as error:
            if not self._said_why:
                _log.warning("the service manager at %r cannot be told how this process is: %s", self._address, error)
            self._said_why = True
            return False
        self._said_why = False
        return True
