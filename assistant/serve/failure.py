"""What the server's own output says of a defect: where it is, and nothing of a request."""

import sys
from pathlib import Path


def tell_failure(what: str, error: BaseException) -> None:
    """Write one line on standard error: the error's type and place. Its message may quote a prompt."""
    trace, place = error.__traceback__, "an unknown place"
    while trace is not None:
        place = f"{Path(trace.tb_frame.f_code.co_filename).name}:{trace.tb_lineno}"
        trace = trace.tb_next
    sys.stderr.write(f"takeback: {what} failed: {type(error).__name__} at {place}\n")
