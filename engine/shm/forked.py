"""What a forked child lets go of before it runs a line of its own.

A child that is forked without exec has copies of everything: descriptors that keep a lock after its parent's death or
that speak for its parent, and locks whose holders do not exist in it. Whoever has such things registers here.
"""

from __future__ import annotations

import os
import weakref
from contextlib import ExitStack
from typing import Protocol


class Heirloom(Protocol):
    """Something of its process alone."""

    def let_go_in_child(self) -> None:
        """Closes the child's copies and makes every use of them an error or nothing.

        Nothing that the parent shares may be changed, and no lock be waited for: it may be held for ever.
        """


_heirlooms: weakref.WeakSet[Heirloom] = weakref.WeakSet()


def not_for_children(heirloom: Heirloom) -> None:
    """Has `heirloom` let go of in every child that is forked while it lives."""
    _heirlooms.add(heirloom)


def _let_go() -> None:
    with ExitStack() as stack:  # whatever one raises, the others are let go of; Python then prints it, and goes on
        for heirloom in list(_heirlooms):
            stack.callback(heirloom.let_go_in_child)
        _heirlooms.clear()


os.register_at_fork(after_in_child=_let_go)
