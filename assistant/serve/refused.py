"""A request that is not answered, and the words in which OpenAI's clients expect to hear of it."""

import json
from typing import Any

from starlette.responses import Response

from convert.untrusted import clean_line

_TYPES = {401: "authentication_error", 403: "permission_error", 429: "rate_limit_error"}


class Refused(Exception):  # noqa: N818 (an answer, and no defect of the program)
    """An HTTP status from 400 on, with one line that says why, the request's field that is wrong, and a code."""

    def __init__(
        self,
        status: int,
        message: str,
        *,
        param: str | None = None,
        code: str | None = None,
        headers: dict[str, str] | None = None,
    ) -> None:
        super().__init__(message)
        self.status = status
        self.message = clean_line(message)
        self.param = param
        self.code = code
        self.headers = headers or {}


def too_busy(status: int, message: str, seconds: int) -> Refused:
    """A refusal that asks to come back after so many seconds."""
    code = "server_busy" if status == 429 else "unavailable"
    return Refused(status, message, code=code, headers={"Retry-After": str(seconds)})


def error_object(refused: Refused) -> dict[str, Any]:
    """The body that OpenAI's clients know for an error."""
    kind = _TYPES.get(refused.status, "invalid_request_error" if refused.status < 500 else "server_error")
    error = {"message": refused.message, "type": kind, "param": refused.param, "code": refused.code}
    return {"error": error}


def refusal(refused: Refused) -> Response:
    """The whole answer to a request that is refused."""
    return json_response(error_object(refused), refused.status, refused.headers)


def json_response(value: object, status: int = 200, headers: dict[str, str] | None = None) -> Response:
    """An answer in JSON that no browser or proxy keeps, and no browser takes for something else."""
    safe = {"Cache-Control": "no-store", "X-Content-Type-Options": "nosniff"}
    body = json.dumps(value, ensure_ascii=False).encode("utf-8", "replace")
    return Response(body, status, {**safe, **(headers or {})}, "application/json")
