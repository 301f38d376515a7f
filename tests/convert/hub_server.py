"""A server on this machine that speaks as much of the Hugging Face hub's protocol as fetching needs."""

import hashlib
import json
import threading
import time
from contextlib import contextmanager, suppress
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from urllib.parse import unquote

COMMIT = "c0ffee" + "0" * 34
LARGE = (".safetensors", ".gguf")


class Hub:
    """`files`: repository → name → bytes. `asked` lists each request; `cut` sends only so many bytes, once.

    `gated` repositories say nothing, `closed` ones (name → status and code) keep their files; `moved` files are
    elsewhere; of `slow` ones the first bytes come, and the rest when the name is taken out.
    """

    def __init__(self):
        self.files = {}
        self.gated = set()
        self.closed = {}
        self.moved = set()
        self.slow = {}
        self.asked = []
        self.cut = {}
        self.lies = {}
        self.url = ""

    def digest(self, raw, *, large):
        return (
            hashlib.sha256(raw).hexdigest()
            if large
            else hashlib.sha1(b"blob %d\0" % len(raw) + raw).hexdigest()
        )

    def info(self, repo):
        listed = []
        for name, raw in self.files[repo].items():
            large = name.endswith(LARGE)
            size = self.lies.get(name, len(raw))
            entry = {"rfilename": name, "size": size, "blobId": self.digest(raw, large=False)}
            if large:
                entry["lfs"] = {"sha256": self.digest(raw, large=True), "size": size, "pointerSize": 130}
            listed.append(entry)
        return {"id": repo, "modelId": repo, "sha": COMMIT, "siblings": listed, "private": False, "tags": []}


class _Handler(BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"

    def log_message(self, *_):
        pass

    def do_HEAD(self):
        self.answer(body=False)

    def do_GET(self):
        self.answer(body=True)

    def refuse(self, status, code, **headers):
        self.send_response(status)
        for key, value in headers.items():
            self.send_header(key, value)
        self.send_header("X-Error-Code", code)
        self.send_header("Content-Length", "0")
        self.end_headers()

    def refusal(self, hub, repo, rest, *, api):
        """Status and code of a refusal, or None; `rest` is the revision and the parts of the file's name."""
        if repo in hub.gated:
            return 403, "GatedRepo"
        if repo not in hub.files:
            return 404, "RepoNotFound"
        if api:
            return (404, "RevisionNotFound") if rest and rest[0] not in ("main", COMMIT) else None
        there = "/".join(rest[1:]) in hub.files[repo]
        return hub.closed.get(repo, None if there else (404, "EntryNotFound"))

    def answer(self, *, body):
        hub = self.server.hub
        path = unquote(self.path.partition("?")[0])
        hub.asked.append((self.command, path, self.headers.get("Range")))
        parts = path.removeprefix("/elsewhere").removeprefix("/api/models").strip("/").split("/")
        repo = "/".join(parts[:2])
        api, name = path.startswith("/api/"), "/".join(parts[4:])
        refusal = self.refusal(hub, repo, parts[3:], api=api)
        if refusal:
            return self.refuse(*refusal)
        if api:
            return self.send(json.dumps(hub.info(repo)).encode(), {"Content-Type": "application/json"}, body)
        if name in hub.moved and not path.startswith("/elsewhere"):
            return self.refuse(302, "", Location=f"/elsewhere{path}")
        raw = hub.files[repo][name]
        digest = hub.digest(raw, large=name.endswith(LARGE))
        return self.send(
            raw,
            {"X-Repo-Commit": COMMIT, "ETag": f'"{digest}"'},
            body,
            hub.cut.pop(name, None) if body else None,
            name,
        )

    def send(self, raw, headers, body, cut=None, name=""):
        wanted = self.headers.get("Range")
        start = int(wanted.removeprefix("bytes=").partition("-")[0]) if wanted else 0
        self.send_response(206 if wanted else 200)
        for key, value in headers.items():
            self.send_header(key, value)
        if wanted:
            self.send_header("Content-Range", f"bytes {start}-{len(raw) - 1}/{len(raw)}")
        self.send_header("Content-Length", str(len(raw) - start))
        self.end_headers()
        slow = self.server.hub.slow
        if body and name in slow:
            self.wfile.write(raw[start : slow[name]])
            start = max(start, slow[name])
            while name in slow:
                time.sleep(0.05)
        if body:
            with suppress(ConnectionError):
                self.wfile.write(raw[start:cut])
        if cut:
            self.close_connection = True


@contextmanager
def serving():
    hub = Hub()
    server = ThreadingHTTPServer(("127.0.0.1", 0), _Handler)
    server.hub, server.daemon_threads = hub, True
    hub.url = f"http://127.0.0.1:{server.server_port}"
    threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.01}, daemon=True).start()
    try:
        yield hub
    finally:
        server.shutdown()
        server.server_close()
