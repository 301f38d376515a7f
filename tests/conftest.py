import os

import pytest


@pytest.fixture(scope="session", autouse=True)
def takeback_home(tmp_path_factory):
    """No test writes to the user's own folders, unless it is told where they are."""
    before = os.environ.get("TAKEBACK_HOME")
    os.environ["TAKEBACK_HOME"] = home = before or str(tmp_path_factory.mktemp("home"))
    yield home
    if before is None:
        del os.environ["TAKEBACK_HOME"]
