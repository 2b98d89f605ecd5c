"""`pytest tests/model --model-bounds=large` explores machines that take some minutes."""

from __future__ import annotations

import pytest

from tests.model.bounds import LARGE, SMALL


def pytest_addoption(parser: pytest.Parser) -> None:
    parser.addoption("--model-bounds", choices=("small", "large"), default="small", help="how much is explored")


def pytest_generate_tests(metafunc: pytest.Metafunc) -> None:
    """`bounds`: one test for each machine."""
    if "bounds" in metafunc.fixturenames:
        # Without this folder on the command line the option is not known yet: then small.
        large = metafunc.config.getoption("--model-bounds", "small") == "large"
        metafunc.parametrize("bounds", SMALL + LARGE if large else SMALL, ids=str)
