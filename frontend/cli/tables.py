"""Tables for a terminal or a pipe: columns as wide as what is in them, cut where the line would be too long."""

from __future__ import annotations

import io
from collections.abc import Iterable, Sequence

from rich.console import Console
from rich.table import Column, Table


def table(heads: Sequence[str], rows: Iterable[Sequence[str]], *, width: int, fold: bool = False) -> list[str]:
    """Lines of at most `width` columns. What does not fit is cut, or with `fold` goes on in the next line."""
    columns = [Column(head, no_wrap=not fold, overflow="fold" if fold else "ellipsis") for head in heads]
    drawn = Table(*columns, box=None, pad_edge=False, show_edge=False)
    for row in rows:
        drawn.add_row(*row)
    console = Console(file=io.StringIO(), width=width, markup=False)  # [openvino] is a name, not a style
    console.print(drawn)
    assert isinstance(console.file, io.StringIO)
    return [line.rstrip() for line in console.file.getvalue().splitlines()]
