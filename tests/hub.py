"""A small server that speaks the Hugging Face Hub's protocol as far as tleg needs it: download, and upload in one commit by LFS."""

from __future__ import annotations

import base64
import hashlib
import json
import threading
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any

import yaml

COMMIT = "0123456789abcdef0123456789abcdef01234567"
TOKEN = "hf_test"  # of the user `me`
REVISIONS = ("main", "v2", COMMIT)


class Hub:
    """files: by USER/NAME/FILE. gets: the paths that were downloaded. private: repositories that were made so.

    commits: what each changed. refuses: the address of a request, or a part of it, that is answered with error 500.
    """

    def __init__(self, files: dict[str, bytes]):
        self.files, self.repositories = files, {key.rsplit("/", 1)[0] for key in files}
        self.gets: list[str] = []
        self.private: set[str] = set()
        self.blobs: dict[str, bytes] = {}
        self.commits: list[tuple[str, list[str]]] = []
        self.refuses: str | None = None
        hub = self

        class Handler(_Handler):
            pass

        Handler.hub = hub
        self.server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
        self.url = f"http://127.0.0.1:{self.server.server_port}"
        threading.Thread(target=self.server.serve_forever, daemon=True).start()

    def stop(self) -> None:
        self.server.shutdown()
        self.server.server_close()

    def in_repository(self, repository: str) -> dict[str, bytes]:
        return {key.rsplit("/", 1)[1]: value for key, value in self.files.items() if key.startswith(f"{repository}/")}


class _Handler(BaseHTTPRequestHandler):
    hub: Hub

    def do_HEAD(self) -> None:
        self.download(body=False)

    def do_GET(self) -> None:
        if self.path == "/api/whoami-v2":
            known = self.headers.get("Authorization") == f"Bearer {TOKEN}"
            return self.answer({"name": "me", "type": "user", "orgs": []} if known else {}, 200 if known else 401)
        if self.path.startswith("/api/models/"):
            return self.about(self.path.removeprefix("/api/models/").partition("?")[0])
        if "/resolve/" in self.path:  # not what huggingface_hub asks about itself
            self.hub.gets.append(self.path)
        return self.download(body=True)

    def do_POST(self) -> None:
        body, path = self.body(), self.path.partition("?")[0]
        if self.hub.refuses and self.hub.refuses in path:
            return self.answer({"error": "out of order"}, 500)
        if path == "/api/repos/create":
            return self.create(json.loads(body))
        if path == "/api/validate-yaml":
            return self.validate(json.loads(body)["content"])
        repository = path.removeprefix("/api/models/").removeprefix("/").split(".git/")[0].rsplit("/", 2)[0]
        if path.endswith(".git/info/lfs/objects/batch"):
            repository = path.strip("/").removesuffix(".git/info/lfs/objects/batch")
        if not repository.startswith("me/"):
            return self.answer({"error": "forbidden"}, 403)
        if path.endswith("/preupload/main"):
            names = [file["path"] for file in json.loads(body)["files"]]
            modes = ["lfs" if name.endswith(".safetensors") else "regular" for name in names]
            files = [{"path": n, "uploadMode": m, "shouldIgnore": False} for n, m in zip(names, modes, strict=True)]
            return self.answer({"files": files})
        if path.endswith("/batch"):
            objects = json.loads(body)["objects"]
            actions = [{"upload": {"href": f"{self.hub.url}/blobs/{one['oid']}"}} for one in objects]
            return self.answer(
                {"objects": [one | {"actions": action} for one, action in zip(objects, actions, strict=True)]}
            )
        return self.commit(repository, [json.loads(line) for line in body.splitlines()])

    def do_PUT(self) -> None:
        content = self.body()
        if self.hub.refuses and self.hub.refuses in self.path:
            return self.answer({"error": "no space"}, 400)
        oid = self.path.rsplit("/", 1)[1]
        assert hashlib.sha256(content).hexdigest() == oid
        self.hub.blobs[oid] = content
        return self.answer({})

    def create(self, wanted: dict[str, Any]) -> None:
        owner = wanted.get("organization") or "me"
        repository = f"{owner}/{wanted['name']}"
        if owner != "me":
            return self.answer({"error": "not yours"}, 403)
        if repository in self.hub.repositories:
            return self.answer({"error": "exists"}, 409)
        self.hub.repositories.add(repository)
        if wanted.get("visibility") == "private" or wanted.get("private"):
            self.hub.private.add(repository)
        return self.answer({"url": f"{self.hub.url}/{repository}"})

    def about(self, repository: str) -> None:
        if repository not in self.hub.repositories:
            return self.answer({"error": "no such repository"}, 404, {"X-Error-Code": "RepoNotFound"})
        return self.answer({"id": repository, "private": repository in self.hub.private, "sha": COMMIT, "siblings": []})

    def validate(self, readme: str) -> None:
        head = yaml.safe_load(readme.split("---\n")[1])
        if head.get("license") == "no-such-license":
            return self.answer({"errors": [{"message": '"license" must be one of [apache-2.0, mit]'}]}, 400)
        return self.answer({"warnings": []})

    def commit(self, repository: str, lines: list[dict[str, Any]]) -> None:
        changed = {}
        for line in lines[1:]:
            value = line["value"]
            inside = line["key"] == "file"
            changed[value["path"]] = base64.b64decode(value["content"]) if inside else self.hub.blobs[value["oid"]]
        self.hub.files.update({f"{repository}/{name}": content for name, content in changed.items()})
        self.hub.commits.append((repository, sorted(changed)))
        return self.answer({"commitUrl": f"{self.hub.url}/{repository}/commit/{COMMIT}", "commitOid": COMMIT})

    def download(self, *, body: bool) -> None:
        repository, _, rest = self.path.strip("/").partition("/resolve/")
        revision, _, name = rest.partition("/")
        content = self.hub.files.get(f"{repository}/{name}")
        known = any(key.startswith(f"{repository}/") for key in self.hub.files)
        code = "EntryNotFound" if known else "RepoNotFound"
        if known and revision not in REVISIONS:
            code, content = "RevisionNotFound", None
        self.send_response(404 if content is None else 200)
        if content is None:
            self.send_header("X-Error-Code", code)
        else:
            self.send_header("ETag", f'"{hashlib.sha1(content).hexdigest()}"')
        self.send_header("X-Repo-Commit", COMMIT)
        self.send_header("Content-Length", str(len(content or b"")))
        self.end_headers()
        if body and content:
            self.wfile.write(content)

    def body(self) -> bytes:
        if self.headers.get("Transfer-Encoding") != "chunked":
            return self.rfile.read(int(self.headers.get("Content-Length", 0)))
        parts = []
        while size := int(self.rfile.readline(), 16):
            parts.append(self.rfile.read(size))
            self.rfile.readline()
        self.rfile.readline()
        return b"".join(parts)

    def answer(self, value: Any, status: int = 200, headers: dict[str, str] | None = None) -> None:
        content = json.dumps(value).encode()
        self.send_response(status)
        for name, text in {**(headers or {}), "Content-Length": str(len(content))}.items():
            self.send_header(name, text)
        self.end_headers()
        self.wfile.write(content)

    def log_message(self, *words: object) -> None: ...
