"""The app and its one task; what a worker loads with `-A tasks`."""

from typing import Any

from digesting import digest_file, stdlib_root

from worker_kernel import App

app = App("digest")


@app.task
def digest(path: str) -> dict[str, Any]:
    """Tokenize, compress and digest one file of the standard library; `path` is relative to the library's folder."""
    return digest_file(stdlib_root(), path)
