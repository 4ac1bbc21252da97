"""The files, what is computed of each, and the report over all: plain functions without worker code.

`check.py` computes the same on its own and must not import this module: it is there to catch what goes wrong here.
"""

import hashlib
import io
import json
import sysconfig
import tokenize
import zlib
from pathlib import Path
from typing import Any

SKIPPED = frozenset({"site-packages", "dist-packages", "__pycache__"})


def stdlib_root() -> Path:
    """The folder of this interpreter's standard library."""
    return Path(sysconfig.get_path("stdlib"))


def python_files(root: Path, limit: int | None = None) -> list[str]:
    """The `.py` files below `root` as relative posix paths, sorted; the first `limit` of them (None: all)."""
    relative = (path.relative_to(root) for path in root.rglob("*.py") if path.is_file())
    return sorted(path.as_posix() for path in relative if SKIPPED.isdisjoint(path.parts))[:limit]


def count_tokens(source: bytes) -> int:
    """The number of tokens in `source`; -1 where it does not tokenize (some of the library's test files do not)."""
    try:
        return sum(1 for _ in tokenize.tokenize(io.BytesIO(source).readline))
    except (tokenize.TokenError, SyntaxError, UnicodeDecodeError):
        return -1


def digest_file(root: Path, path: str) -> dict[str, Any]:
    """What the task answers for the file `path` below `root`. Sizes are bytes, the digest is of the raw bytes."""
    source = (root / path).read_bytes()
    return {
        "path": path,
        "bytes": len(source),
        "tokens": count_tokens(source),
        "compressed": len(zlib.compress(source, 6)),
        "sha256": hashlib.sha256(source).hexdigest(),
    }


def report_text(results: list[dict[str, Any]]) -> str:
    """The report over `results`, as JSON: the same results give the same bytes, whatever order they arrived in."""
    files = sorted(results, key=lambda result: result["path"])
    combined = hashlib.sha256()
    for result in files:
        combined.update("{path} {sha256} {tokens} {compressed}\n".format_map(result).encode())
    return json.dumps({"combined": combined.hexdigest(), "files": files}, indent=1, sort_keys=True) + "\n"
