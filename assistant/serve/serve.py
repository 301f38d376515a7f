"""What `takeback serve` does: bind, load the model, answer until a signal comes."""

import argparse
import ipaddress
import os
import signal
import socket
import stat
import sys
from functools import partial
from pathlib import Path

from assistant.ask_output import StatusLine
from assistant.engine.options import LoadOptions, generate_options, load_options
from assistant.engine.parallel import open_sessions
from assistant.engine.session import Session
from assistant.models.library import resolve
from assistant.serve.app import Serving, build_app
from assistant.serve.server import Server, address_of, is_loopback, listen
from assistant.serve.worker import Worker
from assistant.settings import load_settings
from assistant.usage import UsageError
from convert.errors import TakebackError
from convert.untrusted import clean_line

TOKEN_VARIABLE = "TAKEBACK_TOKEN"  # noqa: S105 (its name)
_LEAST_TOKEN = 16


def serve(args: argparse.Namespace) -> int:
    """Serve until SIGINT or SIGTERM. The flags are those of `assistant.serve.cli`.

    Raises UsageError for what they say wrongly, and TakebackError if there is no model or no such address.
    """
    settings = load_settings(vars(args))
    try:
        loading, writing = load_options(settings), generate_options(settings)
    except TakebackError as error:
        raise UsageError(str(error)) from error
    token = read_token(args.token_file)
    with listen(args.host, args.port) as bound:
        if token is None and not is_loopback(bound):
            raise UsageError(
                f"--host {args.host} lets other machines in, and so needs a token: --token-file FILE, or "
                f"the variable {TOKEN_VARIABLE}"
            )
        sessions = _load(settings.model, loading, args.parallel)
        info = sessions[0].info
        worker = Worker(sessions, queue=args.queue)
        name = clean_line(info.path.stem)
        hosts = (*args.allow_host, *own_names(args.host, bound))
        serving = Serving(name, writing, early=args.stream_early, token=token, hosts=hosts)
        url = f"http://{address_of(bound)}/v1"
        room = f"a context of {info.context_length:,} tokens"
        how = (
            f"{args.parallel} at a time, each with {room}"
            if args.parallel > 1
            else f"one at a time, with {room}"
        )
        ready = partial(_tell, f"{url} answers for {name}, {how}; Ctrl-C ends it")
        server = Server(build_app(worker, serving), worker, ready)
        if info.contract is None or info.note:
            _tell(f"{clean_line(info.name)}: {clean_line(info.note or 'it cannot take back what it writes')}")
        return _run(server, worker, bound)


def _load(model: str | None, options: LoadOptions, count: int) -> list[Session]:
    """Load the model, and build it first where that is needed; a terminal is told how far that is."""
    status = StatusLine(sys.stderr, shown=sys.stderr.isatty())

    def progress(what: str, done: int, total: int) -> None:
        status.show(f"{clean_line(what)} {100 * done // max(total, 1)} %")

    try:
        return open_sessions(resolve(model, progress), options, progress, count=count)
    finally:
        status.clear()


def own_names(host: str, bound: socket.socket) -> tuple[str, ...]:
    """The Host headers that --host adds to a connection's own address: none where it means any address."""
    address, port = bound.getsockname()[:2]
    if ipaddress.ip_address(address).is_unspecified:
        return ()
    return (f"{host}:{port}", host) if port == 80 else (f"{host}:{port}",)


def _run(server: Server, worker: Worker, bound: socket.socket) -> int:
    """Answer until a signal comes; returns the exit status."""
    # uvicorn raises the signal that ended it once more, when all is done. Then it has had its effect.
    before = {number: signal.signal(number, lambda *_: None) for number in (signal.SIGINT, signal.SIGTERM)}
    worker.start()
    try:
        server.run(sockets=[bound])
    finally:
        worker.stop()
        ended = worker.join(10)
        for number, handler in before.items():
            signal.signal(number, handler)
    if not ended:
        # The model is deep in something that cannot be stopped, and Python would wait for it.
        sys.stderr.flush()
        os._exit(1)
    return 0


def read_token(file: Path | None) -> str | None:
    """The token of the file, else that of the environment; None where there is neither.

    Raises UsageError if it is no token that keeps anybody out, or cannot be sent in a header.
    """
    if file is None:
        token, where = os.environ.get(TOKEN_VARIABLE), TOKEN_VARIABLE
    else:
        try:
            token, where = file.read_text(encoding="utf-8"), str(file)
            if file.stat().st_mode & (stat.S_IRWXG | stat.S_IRWXO):
                _tell(f"others on this machine can read {file}; chmod 600 keeps the token yours")
        except (OSError, UnicodeDecodeError) as error:
            raise UsageError(f"{file}: no token can be read from it") from error
    if not token and file is None:
        return None
    token = (token or "").strip()
    if len(token) < _LEAST_TOKEN or not token.isascii() or not token.isprintable() or " " in token:
        raise UsageError(
            f"{where}: a token is one line of at least {_LEAST_TOKEN} letters, digits and signs; "
            "openssl rand -hex 32 makes one"
        )
    return token


def _tell(line: str) -> None:
    sys.stderr.write(f"takeback: {line}\n")
    sys.stderr.flush()
