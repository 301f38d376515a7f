"""How far a counted share may be from the true one."""

from math import sqrt

_Z = 1.959964  # the normal distribution's 97.5 % point


def wilson(count: int, total: int) -> tuple[float, float]:
    """The 95 % interval of a share, as two numbers from 0 to 1, by Wilson (1927): right for few cases too.

    Of no cases nothing is known: (0, 1).
    """
    if not 0 <= count <= total:
        raise ValueError(f"{count} of {total} is no share")
    if total == 0:
        return 0.0, 1.0
    share, square = count / total, _Z * _Z
    middle = (share + square / (2 * total)) / (1 + square / total)
    reach = _Z / (1 + square / total) * sqrt(share * (1 - share) / total + square / (4 * total * total))
    return middle - reach if count else 0.0, middle + reach if count < total else 1.0
