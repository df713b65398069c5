"""Fixtures: certificates once per worker, and for each test a world of nodes that is stopped and checked at its end."""

import os

import pytest

import qanat


def pytest_configure(config):
    config.addinivalue_line("markers", "serial: needs both cores; runs alone")
    config.addinivalue_line("markers", "slow: too slow under sanitizers")
    config.addinivalue_line("markers", "threads: worth running under the thread sanitizer")


@pytest.fixture(scope="session")
def certs(tmp_path_factory):
    return qanat.Certs(str(tmp_path_factory.mktemp("certs")))


@pytest.fixture
def world(tmp_path, certs, request):
    made = qanat.World(str(tmp_path), certs)
    request.node.world = made
    yield made
    made.close()


@pytest.hookimpl(hookwrapper=True)
def pytest_runtest_makereport(item):
    """A failure shows what the nodes said."""
    outcome = yield
    report = outcome.get_result()
    world = getattr(item, "world", None)
    if report.failed and world is not None:
        for node in world.nodes:
            if os.path.exists(node.log_path):
                report.sections.append(("log of " + node.name, node.whole_log()[-8000:]))
