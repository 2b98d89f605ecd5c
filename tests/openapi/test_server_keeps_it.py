"""Each way in answers as the document says, whatever it is asked. `python -m tests.openapi` tries 500 cases each."""

from __future__ import annotations

from collections.abc import Iterator

import pytest

from tests.conformance.conftest import MODEL, WAYS
from tests.openapi.exploring import explore
from tests.support.server import ServerProcess

CASES, SEED = 10, 1


@pytest.fixture(scope="module", params=WAYS)
def server(request: pytest.FixtureRequest) -> Iterator[ServerProcess]:
    with ServerProcess(WAYS[request.param], environment=MODEL, ready="/ready") as process:
        yield process


def test_nothing_answers_against_the_document(server: ServerProcess) -> None:
    done = explore(server.port, cases=CASES, seed=SEED)
    assert done.returncode == 0, done.stdout
