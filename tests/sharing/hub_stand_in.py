"""A model hub on this machine: the HTTP endpoints that huggingface_hub speaks to, over files in memory.

Written from the requests that the client makes (its hf_api, _commit_api, lfs and file_download). Safetensors and
pictures go through LFS, everything else inside the commit, as on the hub.
"""

from __future__ import annotations

import base64
import hashlib
import json
import threading
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any
from urllib.parse import unquote, urlsplit

TOKEN = "hf_stand_in"
LFS = (".safetensors", ".png", ".jpg")


@dataclass
class Repository:
    """Its commits, oldest first: (id, files by path). What is in `lfs` was uploaded apart."""

    private: bool = False
    commits: list[tuple[str, dict[str, bytes]]] = field(default_factory=list)

    def at(self, revision: str) -> tuple[str, dict[str, bytes]] | None:
        if revision == "main":
            return self.commits[-1]
        return next((each for each in self.commits if each[0] == revision), None)

    def commit(self, files: dict[str, bytes]) -> str:
        name = hashlib.sha1(repr((len(self.commits), sorted(files.items()))).encode()).hexdigest()
        self.commits.append((name, files))
        return name


class StandIn:
    """The server; `repositories` is what it holds and `asked` every request it got."""

    def __init__(self) -> None:
        self.repositories: dict[str, Repository] = {}
        self.objects: dict[str, bytes] = {}
        self.asked: list[str] = []
        self.broken = ""  # requests whose path holds this get a 500
        stand_in = self

        class Handler(_Handler):
            hub = stand_in

        self._server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
        self._server.daemon_threads = True
        self.url = f"http://127.0.0.1:{self._server.server_address[1]}"
        self._thread = threading.Thread(target=self._server.serve_forever, args=(0.01,), daemon=True)
        self._thread.start()

    def close(self) -> None:
        self._server.shutdown()
        self._server.server_close()
        self._thread.join()

    def files(self, repo: str) -> dict[str, bytes]:
        return self.repositories[repo].commits[-1][1]

    def put(self, repo: str, **changes: bytes | None) -> str:
        """One more commit with other content of files, whose names have __ for a dot; None takes one out."""
        repository = self.repositories.setdefault(repo, Repository())
        before = repository.commits[-1][1] if repository.commits else {}
        files = before | {name.replace("__", "."): data for name, data in changes.items() if data is not None}
        gone = {name.replace("__", ".") for name, data in changes.items() if data is None}
        return repository.commit({name: data for name, data in files.items() if name not in gone})


class _Handler(BaseHTTPRequestHandler):
    hub: StandIn

    def log_message(self, *arguments: Any) -> None: ...

    def do_HEAD(self) -> None:
        self._serve("HEAD")

    def do_GET(self) -> None:
        self._serve("GET")

    def do_POST(self) -> None:
        self._serve("POST")

    def do_PUT(self) -> None:
        self._serve("PUT")

    def _serve(self, method: str) -> None:
        if self.headers.get("Transfer-Encoding") == "chunked":
            body = b""
            while size := int(self.rfile.readline(), 16):
                body += self.rfile.read(size)
                self.rfile.readline()
            self.rfile.readline()
        else:
            body = self.rfile.read(int(self.headers.get("Content-Length") or 0))
        path = unquote(urlsplit(self.path).path)
        self.hub.asked.append(f"{method} {path}")
        self._body = method != "HEAD"
        if self.hub.broken and self.hub.broken in path:
            self._answer(500, {"error": "Internal Error - we are working on it"})
        elif path == "/":
            self._answer(200, b"")
        elif path == "/api/validate-yaml":
            self._answer(200, {"errors": [], "warnings": []})
        elif method == "PUT" and path.startswith("/lfs/"):
            self.hub.objects[path.removeprefix("/lfs/")] = body
            self._answer(200, b"")
        elif method == "POST" and self.headers.get("Authorization") != f"Bearer {TOKEN}":
            self._answer(403, {"error": "Forbidden"}, {"X-Error-Message": "you have no write access"})
        elif path == "/api/repos/create":
            self._create(json.loads(body))
        elif path.endswith(".git/info/lfs/objects/batch"):
            self._batch(json.loads(body))
        elif path.startswith("/api/models/"):
            self._api(method, path.removeprefix("/api/models/").split("/"), body)
        elif path.startswith("/api/"):
            self._answer(404, {"error": "Not Found"})
        else:
            self._resolve(path.removeprefix("/").split("/"))

    def _answer(self, status: int, value: Any, headers: dict[str, str] | None = None) -> None:
        data = value if isinstance(value, bytes) else json.dumps(value).encode()
        self.send_response(status)
        for name, each in {"Content-Length": str(len(data)), **(headers or {})}.items():
            self.send_header(name, each)
        self.end_headers()
        if self._body:
            self.wfile.write(data)

    def _create(self, asked: dict[str, Any]) -> None:
        repo = f"{asked['organization']}/{asked['name']}"
        made = {"url": f"{self.hub.url}/{repo}", "id": repo, "name": repo}
        if repo in self.hub.repositories:
            self._answer(409, made)
            return
        self.hub.repositories[repo] = Repository(asked.get("visibility") == "private")
        self.hub.repositories[repo].commit({".gitattributes": b"*.safetensors filter=lfs\n"})
        self._answer(200, made)

    def _batch(self, asked: dict[str, Any]) -> None:
        def answer(each: dict[str, Any]) -> dict[str, Any]:
            there = each["oid"] in self.hub.objects
            upload = {"upload": {"href": f"{self.hub.url}/lfs/{each['oid']}"}}
            return {**each, **({} if there else {"actions": upload})}

        self._answer(200, {"transfer": "basic", "objects": [answer(each) for each in asked["objects"]]})

    def _found(self, repo: str, revision: str) -> tuple[str, dict[str, bytes]] | None:
        """The files of a revision; None once a refusal was sent."""
        repository = self.hub.repositories.get(repo)
        allowed = repository and not (repository.private and self.headers.get("Authorization") is None)
        found = repository.at(revision) if repository and allowed else None
        if not allowed:
            self._answer(401, {"error": "Repository not found"}, {"X-Error-Code": "RepoNotFound"})
        elif found is None:
            self._answer(404, {"error": "Invalid rev"}, {"X-Error-Code": "RevisionNotFound"})
        return found

    def _api(self, method: str, parts: list[str], body: bytes) -> None:
        repo, what = "/".join(parts[:2]), parts[2] if len(parts) > 2 else "revision"
        revision = parts[3] if len(parts) > 3 else "main"
        if (found := self._found(repo, revision)) is None:
            return
        commit, files = found
        if what == "revision":
            siblings = [{"rfilename": name, "size": len(data)} for name, data in files.items()]
            private = self.hub.repositories[repo].private
            self._answer(200, {"id": repo, "sha": commit, "siblings": siblings, "private": private})
        elif what == "tree":
            self._answer(200, [_entry(name, data) for name, data in files.items()])
        elif what == "preupload":
            asked = json.loads(body)["files"]
            modes = [(each["path"], "lfs" if each["path"].endswith(LFS) else "regular") for each in asked]
            answers = [{"path": path, "uploadMode": mode, "shouldIgnore": False} for path, mode in modes]
            self._answer(200, {"files": answers})
        else:
            self._commit(repo, dict(files), [json.loads(line) for line in body.splitlines()])

    def _commit(self, repo: str, files: dict[str, bytes], lines: list[dict[str, Any]]) -> None:
        for line in lines:
            value = line["value"]
            if line["key"] == "file":
                files[value["path"]] = base64.b64decode(value["content"])
            elif line["key"] == "lfsFile":
                files[value["path"]] = self.hub.objects[value["oid"]]
            elif line["key"] == "deletedFile":
                del files[value["path"]]
        commit = self.hub.repositories[repo].commit(files)
        self._answer(200, {"commitUrl": f"{self.hub.url}/{repo}/commit/{commit}", "commitOid": commit})

    def _resolve(self, parts: list[str]) -> None:
        repo, revision, name = "/".join(parts[:2]), parts[3], "/".join(parts[4:])
        if (found := self._found(repo, revision)) is None:
            return
        commit, files = found
        if name not in files:
            self._answer(404, b"", {"X-Error-Code": "EntryNotFound", "X-Repo-Commit": commit})
            return
        digest = hashlib.sha256(files[name]).hexdigest()
        self._answer(200, files[name], {"ETag": f'"{digest}"', "X-Repo-Commit": commit})


def _entry(name: str, data: bytes) -> dict[str, Any]:
    blob = hashlib.sha1(b"blob %d\0" % len(data) + data).hexdigest()
    entry = {"type": "file", "path": name, "size": len(data), "oid": blob}
    if name.endswith(LFS):
        digest = hashlib.sha256(data).hexdigest()
        entry["lfs"] = {"oid": digest, "size": len(data), "pointerSize": 130}
    return entry
