"""A server on this machine that speaks as much of the Hugging Face hub's protocol as fetching needs."""

import hashlib
import json
import threading
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer

COMMIT = "c0ffee" + "0" * 34


class Hub:
    """`files`: repository → name → bytes. `asked` lists each request; `cut` sends only so many bytes, once."""

    def __init__(self):
        self.files = {}
        self.gated = set()
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
            large = name.endswith(".safetensors")
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

    def refuse(self, status, code):
        self.send_response(status)
        self.send_header("X-Error-Code", code)
        self.send_header("Content-Length", "0")
        self.end_headers()

    def answer(self, *, body):
        hub = self.server.hub
        path = self.path.partition("?")[0]
        hub.asked.append((self.command, path, self.headers.get("Range")))
        parts = path.removeprefix("/api/models").strip("/").split("/")
        repo = "/".join(parts[:2])
        if repo in hub.gated:
            return self.refuse(403, "GatedRepo")
        if repo not in hub.files:
            return self.refuse(404, "RepoNotFound")
        if path.startswith("/api/"):
            if len(parts) > 3 and parts[3] not in ("main", COMMIT):
                return self.refuse(404, "RevisionNotFound")
            return self.send(json.dumps(hub.info(repo)).encode(), {"Content-Type": "application/json"}, body)
        name = parts[-1]
        if name not in hub.files[repo]:
            return self.refuse(404, "EntryNotFound")
        raw = hub.files[repo][name]
        digest = hub.digest(raw, large=name.endswith(".safetensors"))
        return self.send(
            raw,
            {"X-Repo-Commit": COMMIT, "ETag": f'"{digest}"'},
            body,
            hub.cut.pop(name, None) if body else None,
        )

    def send(self, raw, headers, body, cut=None):
        wanted = self.headers.get("Range")
        start = int(wanted.removeprefix("bytes=").partition("-")[0]) if wanted else 0
        self.send_response(206 if wanted else 200)
        for key, value in headers.items():
            self.send_header(key, value)
        if wanted:
            self.send_header("Content-Range", f"bytes {start}-{len(raw) - 1}/{len(raw)}")
        self.send_header("Content-Length", str(len(raw) - start))
        self.end_headers()
        if body:
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
