"""Where control sockets are: in a folder that only its owner can enter."""

from __future__ import annotations

import hashlib
import os
import re
import stat
import tempfile
from collections.abc import Mapping
from pathlib import Path

LONGEST = 100
"""Bytes that the path of a socket may have on every platform (``sun_path``)."""
ROOM = 45
"""Bytes that the names below ``XDG_RUNTIME_DIR`` may need."""


def folder(environ: Mapping[str, str] | None = None) -> Path:
    """Return the folder of this user's control sockets, which need not exist."""
    environ = os.environ if environ is None else environ
    runtime = environ.get("XDG_RUNTIME_DIR")
    if runtime and Path(runtime).is_dir() and len(os.fsencode(runtime)) <= LONGEST - ROOM:
        return Path(runtime) / "worker-kernel"
    return Path(tempfile.gettempdir()) / f"worker-kernel-{os.getuid()}"


def path_for(node: str, pid: int, where: Path) -> Path:
    """Return the path of one worker's socket: by its name, or by a digest of it where that would be too long."""
    name = re.sub(r"[^A-Za-z0-9@._-]", "_", node)
    path = where / f"{name}-{pid}.sock"
    if len(os.fsencode(path)) > LONGEST:
        path = where / f"{hashlib.sha256(node.encode()).hexdigest()[:12]}-{pid}.sock"
    return path


def make_private(where: Path) -> None:
    """Make the folder, for its owner only.

    Raises:
        OSError: it cannot be made, or is there and belongs to somebody else or lets others in.
    """
    where.mkdir(mode=0o700, exist_ok=True)
    found = where.lstat()
    if not stat.S_ISDIR(found.st_mode) or found.st_uid != os.getuid() or stat.S_IMODE(found.st_mode) & 0o077:
        raise PermissionError(f"{where} is not a folder that its owner alone can enter")
