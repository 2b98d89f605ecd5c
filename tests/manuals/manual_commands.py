"""Everything that the manuals tell people to type."""

from __future__ import annotations

import re
import textwrap
from dataclasses import dataclass

from tests.manuals.blocks import ROOT

MANUALS = (
    "README.md", "frontend/README.md", "engine/README.md", "benchmarks/README.md",
    *(f"frontend/docs/{path.name}" for path in sorted((ROOT / "frontend" / "docs").glob("*.md"))),
)  # fmt: skip
_PIECE = re.compile(
    r"^(?P<heading>#{1,6} [^\n]*)$|^ *```(?P<language>\w*)\n(?P<text>.*?)^ *```$", re.MULTILINE | re.DOTALL
)
_REMARK = re.compile(r"\s+#\s.*$")


@dataclass(frozen=True)
class ManualBlock:
    """One block of code."""

    manual: str
    heading: str
    language: str
    text: str

    @property
    def commands(self) -> list[str]:
        """Of a shell: each on one line, without remarks."""
        joined = re.sub(r"\s*\\\n\s*", " ", self.text)
        return [_REMARK.sub("", line) for line in joined.splitlines() if line.strip() and not line.startswith("#")]

    def __str__(self) -> str:
        return f"{self.manual} {self.heading.strip('# ')}: {self.text.splitlines()[0][:40]}"


def blocks_of(*languages: str) -> list[ManualBlock]:
    """All blocks of all manuals in one of `languages`, in order."""
    found = []
    for manual in MANUALS:
        heading = ""
        for piece in _PIECE.finditer((ROOT / manual).read_text()):
            if piece["heading"]:
                heading = piece["heading"]
            elif piece["language"] in languages:
                found.append(ManualBlock(manual, heading, piece["language"], textwrap.dedent(piece["text"])))
    return found
