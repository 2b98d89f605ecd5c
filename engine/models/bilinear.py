"""Bilinear resizing that looks only at the columns and rows which it uses.

Invariant: which they are and how much each counts is asked of `torch.nn.functional.interpolate`, and not worked out
anew: the positions of a hundred columns differ in float32 by how they are computed.
"""

from __future__ import annotations

from typing import NamedTuple

import torch
from torch import Tensor
from torch.nn import functional


class _Axis(NamedTuple):
    """Every place of a resized axis lies between two places of the old one."""

    before: Tensor  # int64 [new]
    after: Tensor  # int64 [new]
    share: Tensor  # float32 [new]: of `after`; the rest is of `before`


class Bilinear:
    """As `interpolate` with mode="bilinear", align_corners=False, without antialias, on a processor.

    What is done to each pixel between the two halves, a logarithm for instance, is done to no more than is used.
    """

    def __init__(self, old: tuple[int, int], new: tuple[int, int]) -> None:
        """Both height, width."""
        self._rows = _axis(old[0], new[0])
        columns = _axis(old[1], new[1])
        self._columns = torch.cat((columns.before, columns.after))
        self._share = columns.share

    def pick(self, image: Tensor) -> Tensor:
        """The columns that are used, in a copy: [height, width] -> [height, 2 x new width]."""
        return image.index_select(1, self._columns)

    def blend(self, picked: Tensor, out: Tensor) -> None:
        """Puts the image at its new size, made of the picked columns, into `out`."""
        width = len(self._share)
        wide = torch.lerp(picked[:, :width], picked[:, width:], self._share)
        before, after, share = self._rows
        torch.lerp(wide.index_select(0, before), wide.index_select(0, after), share[:, None], out=out)


def _axis(old: int, new: int) -> _Axis:
    places = torch.eye(old, device="cpu")[None, None]
    shares = functional.interpolate(places, size=(old, new), mode="bilinear", align_corners=False)[0, 0]  # [old, new]
    before = (shares > 0.0).int().argmax(dim=0)  # the first of equals
    after = (before + 1).clamp(max=old - 1)
    share = torch.where(after > before, shares.gather(0, after[None])[0], 0.0)
    return _Axis(before, after, share)
