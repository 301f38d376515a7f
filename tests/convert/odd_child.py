"""A child that does what its request says."""

import os
import sys
import time

from convert.children import child_main


def _work(request, step):
    if request == "flood":
        for number in range(10_000):
            sys.stderr.write(f"line {number}\n")
        sys.stderr.write("x" * 100_000)
        sys.stderr.flush()
        sys.exit(1)
    if request == "nonsense":
        print("no message", flush=True)
    if request == "mute":
        os.close(1)
    if request == "step":
        step(1, 2)
    if request != "quick":
        time.sleep(1000)
    return request


if __name__ == "__main__":
    child_main(_work)
