"""`nightscan`: the command line. Each verb has a module of its own, which reads the settings and does one thing."""

from __future__ import annotations

from frontend.cli.command_line import CommandLine
from frontend.cli.runtime_dir import runtime_dir_option
from frontend.cli.start import start
from frontend.cli.verbs import VERBS

main = CommandLine(
    VERBS,
    name="nightscan",
    help="One inference engine for night sound recordings.",
    epilog="`nightscan VERB --help` says more. Exit codes: 0 done, 1 in part, 2 wrong command line or setting, "
    "3 nothing runs, 4 refused, 130 interrupted.",
    context_settings={"help_option_names": ["-h", "--help"], "max_content_width": 80},
    params=[runtime_dir_option()],
)


if __name__ == "__main__":
    start()
