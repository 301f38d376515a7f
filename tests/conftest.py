import os
import signal

import pytest

# A shell that starts the tests in the background has them ignore Ctrl-C, and nohup the end of the terminal; so would
# every program they start.
if signal.getsignal(signal.SIGHUP) is signal.SIG_IGN:
    signal.signal(signal.SIGHUP, signal.SIG_DFL)
if signal.getsignal(signal.SIGINT) is signal.SIG_IGN:
    signal.signal(signal.SIGINT, signal.default_int_handler)


@pytest.fixture(scope="session", autouse=True)
def takeback_home(tmp_path_factory):
    """No test writes to the user's own folders, unless it is told where they are."""
    before = os.environ.get("TAKEBACK_HOME")
    os.environ["TAKEBACK_HOME"] = home = before or str(tmp_path_factory.mktemp("home"))
    yield home
    if before is None:
        del os.environ["TAKEBACK_HOME"]
