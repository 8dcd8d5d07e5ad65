"""A lab of its own for the tests of the lab itself, which need no cluster. Each file starts one and takes it down."""

from collections.abc import Iterator
from pathlib import Path

import pytest
from hosts import reserved
from machine_eyes import SPEC

from lab import Lab


@pytest.fixture(autouse=True)
def real_hosts(root: None) -> None:
    """None of these tests can be made without root."""


@pytest.fixture(scope="module")
def checkout(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tmp_path_factory.mktemp("checkout")


@pytest.fixture(scope="module")
def started(root: None, checkout: Path) -> Iterator[Lab]:
    lab = Lab(SPEC, checkout)
    with reserved(SPEC) as mine:
        if not mine:
            pytest.fail("another run of these tests is at work on this machine")
        lab.up()
        yield lab
        lab.down()


@pytest.fixture
def lab(started: Lab) -> Lab:
    """The lab with all hosts up, whatever the test before has left."""
    started.up()
    return started
