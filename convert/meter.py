"""Progress on a terminal: one line on standard error."""

import sys
import time


class Meter:
    """One line on standard error that says how far the work is, ten times a second at most."""

    def __init__(self) -> None:
        self.what = ""
        self.began: tuple[float, int] = (0.0, 0)
        self.shown_at = 0.0
        self.standing = False

    def show(self, what: str, done: int, total: int) -> None:
        """Show bytes done, bytes in all and the time that is left at the speed since this piece began."""
        now = time.monotonic()
        if what != self.what:
            self.what, self.began, self.shown_at = what, (now, done), 0.0
        if done < total and now - self.shown_at < 0.1:
            return
        self.shown_at = now
        self.standing = done < total
        end = "" if self.standing else "\n"
        size = f"{done * 100 // max(total, 1):3d}% of {total / (1 << 20):,.0f} MiB"
        left = self._left(now, done, total)
        _write(f"\r\x1b[K{what}: {size}{left}{end}")

    def _left(self, now: float, done: int, total: int) -> str:
        """Nothing in the first second, where the speed is not known yet."""
        seconds, moved = now - self.began[0], done - self.began[1]
        if not self.standing or seconds < 1 or moved <= 0:
            return ""
        left = round(seconds * (total - done) / moved)
        return f", {left // 60}:{left % 60:02d} left"

    def clear(self) -> None:
        """Take away a line that was cut short, so that what is said next has its own."""
        if self.standing:
            _write("\r\x1b[K")
            self.standing = False


def _write(text: str) -> None:
    sys.stderr.write(text)
    sys.stderr.flush()
