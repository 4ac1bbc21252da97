"""Checks that every link between the Markdown files of this repository leads somewhere, headings included.

Links to other sites are not followed: the check needs no network.
"""

from __future__ import annotations

import re
import subprocess
import sys
from collections.abc import Iterator
from functools import cache
from itertools import pairwise
from pathlib import Path
from urllib.parse import unquote, urlsplit

from markdown_it import MarkdownIt

ROOT = Path(__file__).resolve().parents[1]


def markdown_files(root: Path = ROOT) -> list[Path]:
    """The Markdown files that git tracks or would track, sorted; every one below ``root`` where there is no git."""
    command = ["git", "ls-files", "--cached", "--others", "--exclude-standard", "*.md"]
    try:
        listed = subprocess.run(command, cwd=root, capture_output=True, text=True, check=True)
    except (OSError, subprocess.CalledProcessError):
        hidden = re.compile(r"(^|/)\.")
        return sorted(path for path in root.rglob("*.md") if not hidden.search(path.relative_to(root).as_posix()))
    return sorted(path for line in set(listed.stdout.splitlines()) if (path := root / line).exists())


def links(path: Path) -> Iterator[tuple[int, str]]:
    """The links and images of a file, each with the line on which its paragraph begins."""
    for block in MarkdownIt().parse(path.read_text(encoding="utf-8")):
        for token in block.children or ():
            target = token.attrGet("href") or token.attrGet("src")
            if target is not None:
                yield (block.map or [0])[0] + 1, str(target)


@cache
def anchors(path: Path) -> frozenset[str]:
    """What links to headings of a file may say after the ``#``."""
    tokens = pairwise(MarkdownIt().parse(path.read_text(encoding="utf-8")))
    headings = [inline.content for opening, inline in tokens if opening.type == "heading_open"]
    slugs: list[str] = []
    for heading in headings:
        slug = re.sub(r"[^\w\- ]", "", heading.replace("`", "").lower()).replace(" ", "-")
        seen = sum(re.fullmatch(rf"{re.escape(slug)}(-\d+)?", other) is not None for other in slugs)
        slugs.append(f"{slug}-{seen}" if seen else slug)
    return frozenset(slugs)


def problem(source: Path, target: str) -> str | None:
    """What is wrong with a link, or None."""
    parts = urlsplit(target)
    if parts.scheme or parts.netloc:
        return None
    path = (source.parent / unquote(parts.path)).resolve() if parts.path else source
    if not path.exists():
        return f"{target}: there is no such file"
    if parts.fragment and path.suffix == ".md" and parts.fragment not in anchors(path):
        return f"{target}: there is no such heading"
    return None


def main() -> int:
    """Print what is wrong; 1 if there is anything."""
    files = markdown_files()
    found = [(path, line, target) for path in files for line, target in links(path)]
    wrong = [(path, line, words) for path, line, target in found if (words := problem(path, target)) is not None]
    for path, line, words in wrong:
        print(f"{path.relative_to(ROOT)}:{line}: {words}", file=sys.stderr)
    if not wrong:
        print(f"{len(found)} links in {len(files)} files lead somewhere")
    return 1 if wrong else 0


if __name__ == "__main__":
    sys.exit(main())
