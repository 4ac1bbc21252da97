"""Checks reports against the files themselves. Uses the standard library alone: no worker code, nothing of `digesting`.

A report is right if it is, byte for byte, the one that this script writes; what differs first is then named.
"""

import argparse
import hashlib
import json
import os
import sys
import sysconfig
import tokenize
import zlib
from pathlib import Path
from typing import Any

NOT_SOURCE = ("site-packages", "dist-packages", "__pycache__")


def find_files(root: str) -> list[str]:
    found = []
    for folder, subfolders, names in os.walk(root):
        subfolders[:] = [name for name in subfolders if name not in NOT_SOURCE]
        whole = (Path(folder, name) for name in names if name.endswith(".py"))
        found += [path.relative_to(root).as_posix() for path in whole if path.is_file()]
    return sorted(found)


def examine(root: str, name: str) -> dict[str, Any]:
    path = Path(root, name)
    content = path.read_bytes()
    tokens = 0
    with path.open("rb") as stream:
        try:
            for _ in tokenize.tokenize(stream.readline):
                tokens += 1
        except (tokenize.TokenError, SyntaxError, UnicodeDecodeError):
            tokens = -1
    return {
        "path": name,
        "bytes": len(content),
        "tokens": tokens,
        "compressed": len(zlib.compress(content, 6)),
        "sha256": hashlib.sha256(content).hexdigest(),
    }


def expected_report(root: str, limit: int | None) -> dict[str, Any]:
    files = [examine(root, name) for name in find_files(root)[:limit]]
    lines = [f"{file['path']} {file['sha256']} {file['tokens']} {file['compressed']}\n" for file in files]
    return {"combined": hashlib.sha256("".join(lines).encode()).hexdigest(), "files": files}


def first_difference(expected: dict[str, Any], content: bytes) -> str | None:
    """What is wrong with a report, in one line; None if it is right."""
    right = (json.dumps(expected, indent=1, sort_keys=True) + "\n").encode()
    if content == right:
        return None
    try:
        report = json.loads(content)
        reported = {file["path"]: file for file in report["files"]}
        combined = report["combined"]
    except (ValueError, TypeError, KeyError) as error:
        return f"is not a report ({type(error).__name__}: {error}), first at {first_byte(right, expected, content)}"
    for file in expected["files"]:
        name = file["path"]
        if name not in reported:
            return f"{name} is missing from the report"
        for key, value in file.items():
            if reported[name].get(key) != value:
                return f"{name} differs: {key} is {reported[name].get(key)!r}, should be {value!r}"
    unknown = sorted(map(str, reported.keys() - {file["path"] for file in expected["files"]}))
    if unknown:
        return f"{unknown[0]} is reported, but is no file of the library (or beyond --limit)"
    if combined != expected["combined"]:
        return f"the combined digest is {combined}, should be {expected['combined']}"
    return f"says the same in other bytes, first at {first_byte(right, expected, content)}"


def first_byte(right: bytes, expected: dict[str, Any], content: bytes) -> str:
    """Where the bytes of a report part from the right ones: in the record of which file."""
    pairs = enumerate(zip(right, content, strict=False))
    at = next((index for index, (a, b) in pairs if a != b), min(len(right), len(content)))
    begun = right.count(b"\n  {", 0, at + 1)  # how many records begin up to there
    where = f"the record of {expected['files'][begun - 1]['path']}" if begun else "the head"
    line = right.count(b"\n", 0, at) + 1
    return f"byte {at}, line {line}, in {where}"


def main(arguments: list[str] | None = None) -> int:
    parser = argparse.ArgumentParser(description="Recompute every digest from the files, and compare the reports.")
    parser.add_argument("reports", nargs="+", metavar="REPORT", type=Path)
    parser.add_argument("--root", default=sysconfig.get_path("stdlib"), help="the folder of the files (%(default)s)")
    parser.add_argument("--limit", type=int, help="the reports cover only the first N files")
    options = parser.parse_args(arguments)

    expected = expected_report(options.root, options.limit)
    wrong = 0
    for path in options.reports:
        try:
            difference = first_difference(expected, path.read_bytes())
        except OSError as error:
            difference = f"cannot be read: {error.strerror}"
        if difference is not None:
            wrong += 1
            print(f"{path}: {difference}", file=sys.stderr)
    if wrong:
        return 1
    size = sum(file["bytes"] for file in expected["files"])
    print(
        f"digests agree: {len(options.reports)} report(s), {len(expected['files'])} files, {size} bytes, "
        f"combined sha256 {expected['combined']}"
    )
    return 0


if __name__ == "__main__":
    sys.exit(main())
