"""The same harness as tests/e2e, used against programs that people have."""

import os
import sys

sys.path.insert(0, os.path.join(os.path.dirname(os.path.dirname(os.path.abspath(__file__))), "e2e"))

from conftest_shared import certs, pytest_configure, pytest_runtest_makereport, world  # noqa: E402,F401
