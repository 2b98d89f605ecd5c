"""Each way in answers as the document says, whatever it is asked. `python -m tests.openapi` tries 500 cases each."""

from __future__ import annotations

import re

import pytest

from tests.conformance.conftest import WAYS
from tests.openapi.__main__ import main


@pytest.mark.parametrize("way", WAYS)
def test_nothing_answers_against_the_document(way: str, capsys: pytest.CaptureFixture[str]) -> None:
    failed = main(["--cases", "10", "--way", way])
    printed = capsys.readouterr().out
    assert not failed, printed
    (tried,) = map(int, re.findall(r"(\d+) generated, \1 passed", printed))
    assert tried > 400, printed
