"""A mel filterbank as a few small blocks: a filter hears few of the bins, and products with the rest are zeros.

Of the published filterbank one weight of sixty is not zero; the blocks hold a tenth of it.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import NamedTuple

import torch
from torch import Tensor

_BLOCK_WEIGHTS = 200  # as long as one block more takes: measured with 345 and 883 hops; 100 and 400 are not far off


class _Block(NamedTuple):
    """Filters that follow one another, and what of a spectrum they hear."""

    filters: slice
    parts: slice
    weights: Tensor  # [filters, parts]


class MelBands:
    """The product of a filterbank with spectra, on a processor and without autograd. Only read once it is made."""

    def __init__(self, filterbank: Tensor) -> None:
        """`filterbank`: float32 [n_mels, bins]."""
        spans = _spans(filterbank)
        # A bin is two parts of a spectrum, of equal weight: to add them first would take longer than the product.
        doubled = filterbank.repeat_interleave(2, dim=1)
        self._blocks = [
            _Block(slice(first, end), slice(2 * low, 2 * high), doubled[first:end, 2 * low : 2 * high].contiguous())
            for first, end in _cuts(spans)
            for low, high in [_span(spans[first:end])]
        ]

    def between(self, squares: Tensor, out: Tensor) -> Callable[[], None]:
        """What puts into `out` [n_mels, hops] what the filters hear of what is then in `squares` [hops, 2 x bins].

        `squares` are those of the real and of the imaginary part, one after the other.
        """
        heard = squares.T
        products = [(weights, heard[parts], out[filters]) for filters, parts, weights in self._blocks]

        def multiply() -> None:
            for weights, part, result in products:
                torch.mm(weights, part, out=result)

        return multiply


def _spans(filterbank: Tensor) -> list[tuple[int, int]]:
    """Of each filter the first bin that it hears, and the one after the last; (0, 0): none."""
    heard = [row.nonzero().flatten().tolist() for row in filterbank]
    return [(bins[0], bins[-1] + 1) if bins else (0, 0) for bins in heard]


def _span(spans: list[tuple[int, int]]) -> tuple[int, int]:
    """Of several filters together; one bin where they hear none, because a product needs one."""
    heard = [span for span in spans if span != (0, 0)]
    return (min(low for low, _ in heard), max(high for _, high in heard)) if heard else (0, 1)


def _cuts(spans: list[tuple[int, int]]) -> list[tuple[int, int]]:
    """Which filters go together: the cheapest way to cut the row of them, by dynamic programming."""
    costs, firsts = [0], [0]  # of the cheapest cut of all filters before `end`, and where its last block begins
    for end in range(1, len(spans) + 1):
        cost, first = min((costs[k] + _cost(spans[k:end]), k) for k in range(end))
        costs.append(cost)
        firsts.append(first)
    blocks = []
    end = len(spans)
    while end:
        blocks.append((firsts[end], end))
        end = firsts[end]
    return blocks[::-1]


def _cost(spans: list[tuple[int, int]]) -> int:
    low, high = _span(spans)
    return len(spans) * (high - low) + _BLOCK_WEIGHTS
