"""`python -m tests.support.held_socket FD COMMAND ...`: runs a command as systemd does that holds its socket."""

from __future__ import annotations

import os
import sys

FIRST_FD = 3  # sd_listen_fds(3)

if __name__ == "__main__":
    os.dup2(int(sys.argv[1]), FIRST_FD, inheritable=True)
    os.environ |= {"LISTEN_FDS": "1", "LISTEN_PID": str(os.getpid())}
    os.execvp(sys.argv[2], sys.argv[2:])
