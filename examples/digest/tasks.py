"""The app and its one task; what a worker loads with `-A tasks`."""

from typing import Any

from digesting import digest_file, stdlib_root

from worker_kernel import App

app = App("digest")


@app.task
def digest(path: str, repeat: int = 1) -> dict[str, Any]:
    """Tokenize, compress and digest one file of the standard library; `path` is relative to the library's folder.

    The work is done `repeat` times (>= 1): the answer is the same, and costs as many times the CPU.
    """
    for _ in range(repeat - 1):
        digest_file(stdlib_root(), path)
    return digest_file(stdlib_root(), path)
