"""Runs the code blocks of a Markdown file in a shell, as a reader would.

- ``python FILE``, ``toml FILE``: the block is the content of FILE, below the folder where the reader works.
- ``console``: lines that begin with ``$ `` are typed; what follows is what they print, ``...`` standing for anything.
- ``console installed``: the same, where the wheels are installed (`tests/packaging`); not run here.
- any other block is not run.
"""

from __future__ import annotations

import contextlib
import os
import re
import signal
import subprocess
import sys
import uuid
from collections.abc import Callable, Iterator
from pathlib import Path

import attrs
import pytest
from markdown_it import MarkdownIt

ROOT = Path(__file__).parents[2]
FILES = ("python", "toml")
"""The languages of blocks that may be the content of a file."""
OBITUARY = re.compile(r"^bash: line \d+: +\d+ (Killed|Terminated) .*\n", re.MULTILINE)
"""What a shell that is not a terminal's says of a child that was killed."""


@attrs.frozen(kw_only=True)
class Block:
    """A fenced block of a Markdown file."""

    where: str
    language: str
    argument: str
    content: str


def blocks_of(path: Path) -> list[Block]:
    found = []
    for token in MarkdownIt().parse(path.read_text(encoding="utf-8")):
        if token.type == "fence":
            language, _, argument = token.info.strip().partition(" ")
            line = (token.map or [0])[0] + 1
            where = f"{path.relative_to(ROOT)}:{line}"
            found.append(Block(where=where, language=language, argument=argument.strip(), content=token.content))
    return found


def typed(content: str) -> list[tuple[str, str]]:
    """The commands of a console block, each with what it is said to print."""
    parts = re.split(r"^\$ ", content, flags=re.MULTILINE)
    assert not parts[0].strip(), f"a console block begins with a command, not with {parts[0]!r}"
    return [(command, output) for part in parts[1:] for command, _, output in [part.partition("\n")]]


def matches(expected: str, printed: str) -> bool:
    """Whether the output is the expected one; ``...`` stands for anything, also for several lines."""

    def lines(text: str) -> str:
        return "\n".join(line.rstrip() for line in text.strip().splitlines())

    pattern = ".*".join(re.escape(piece) for piece in lines(expected).split("..."))
    return re.fullmatch(pattern, lines(printed), re.DOTALL) is not None


class Shell:
    """One shell that lives as long as the reading of a page; what is sent to the background ends with it."""

    def __init__(self, folder: Path, programs: Path) -> None:
        kept = {name: os.environ[name] for name in ("HOME", "LANG", "TMPDIR") if name in os.environ}
        path = f"{programs}{os.pathsep}{os.environ['PATH']}"
        self.folder = folder
        self.process = subprocess.Popen(
            ["bash", "--noprofile", "--norc"],
            cwd=folder,
            env=kept | {"PATH": path, "COLUMNS": "120"},
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            text=True,
            start_new_session=True,
        )

    def run(self, command: str) -> tuple[int, str]:
        """Type a command; its exit status and what it printed. One that ends in ``&`` prints to a file."""
        if command.endswith("&") and ">" not in command:
            command = f"{command[:-1].rstrip()} >>background.log 2>&1 &"
        assert self.process.stdin is not None
        assert self.process.stdout is not None
        mark = uuid.uuid4().hex
        self.process.stdin.write(f"{command}\nprintf '%s %s\\n' {mark} $?\n")
        self.process.stdin.flush()
        printed: list[str] = []
        for line in self.process.stdout:
            text, found, status = line.partition(mark)
            printed.append(text)
            if found:
                return int(status), OBITUARY.sub("", "".join(printed))
        raise AssertionError(f"the shell ended in {command!r}: {''.join(printed)}")

    def close(self) -> None:
        """Stop what runs in the background, and the shell."""
        self.run("jobs -p | xargs -r kill; wait")
        assert self.process.stdin is not None
        assert self.process.stdout is not None
        self.process.stdin.close()
        self.process.stdout.close()
        self.process.wait(30)

    def kill(self) -> None:
        """End everything that the shell has started, whatever state it is in."""
        with contextlib.suppress(ProcessLookupError):  # nothing of it lives any more
            os.killpg(self.process.pid, signal.SIGKILL)
        self.process.wait(30)
        for stream in (self.process.stdin, self.process.stdout):
            if stream is not None and not stream.closed:
                stream.close()


@pytest.fixture
def blocks() -> Callable[[Path], list[Block]]:
    return blocks_of


@pytest.fixture
def programs() -> Path:
    """Where the reader's programs are: those of the environment that the tests run in."""
    return Path(sys.executable).parent


@pytest.fixture
def shell(tmp_path: Path, programs: Path) -> Iterator[Shell]:
    opened = Shell(tmp_path, programs)
    try:
        yield opened
        opened.close()
    finally:
        opened.kill()


@pytest.fixture
def read_through(shell: Shell) -> Callable[[Path], int]:
    """A function that does what a page says, and returns how many commands that were."""

    def read(path: Path) -> int:
        count = 0
        for block in blocks_of(path):
            if block.language in FILES and block.argument:
                file = shell.folder / block.argument
                file.parent.mkdir(parents=True, exist_ok=True)
                file.write_text(block.content, encoding="utf-8")
            if block.language != "console" or block.argument:
                continue
            for command, expected in typed(block.content):
                status, printed = shell.run(command)
                log = shell.folder / "background.log"
                behind = log.read_text() if log.exists() else ""
                said = f"{block.where}: $ {command}\n{printed}\n-- in the background:\n{behind}"
                assert status == 0, said
                assert matches(expected, printed), f"{said}\n-- should be:\n{expected}"
                count += 1
        return count

    return read
