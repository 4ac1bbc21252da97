"""Pieces of Markdown, and the docstrings that stand under fields."""

from __future__ import annotations

import ast
import inspect
from collections.abc import Iterable, Sequence
from itertools import pairwise

NOTICE = "<!-- Written by docs/generate.py from the code: change the code, then run `make docs`. -->\n"


def page(title: str, introduction: str, *parts: str) -> str:
    return "\n".join([f"# {title}\n", NOTICE, introduction.strip() + "\n", *parts]).rstrip() + "\n"


def table(head: Sequence[str], rows: Iterable[Sequence[str]]) -> str:
    cells = [head, ["---"] * len(head), *rows]
    return "".join(f"| {' | '.join(cell.replace('|', chr(92) + '|') for cell in row)} |\n" for row in cells)


def prose(text: str) -> str:
    """Turn the markup of docstrings into Markdown."""
    return text.replace("``", "`")


def words_below(record: type[object]) -> dict[str, str]:
    """The docstrings that stand under the fields of a record, or under the members of an enumeration, by name."""
    (tree,) = ast.parse(inspect.getsource(record)).body
    assert isinstance(tree, ast.ClassDef)
    found: dict[str, str] = {}
    for node, following in pairwise(tree.body):
        if isinstance(node, ast.Assign | ast.AnnAssign) and isinstance(following, ast.Expr):
            target = node.target if isinstance(node, ast.AnnAssign) else node.targets[0]
            found[ast.unparse(target)] = prose(
                " ".join(inspect.cleandoc(ast.literal_eval(following.value)).split("\n"))
            )
    return found


def between_markers(text: str, name: str, content: str) -> str:
    """Replace what stands between ``<!-- name -->`` and ``<!-- end name -->``."""
    begin, end = f"<!-- {name} -->", f"<!-- end {name} -->"
    assert text.count(begin) == text.count(end) == 1, f"README.md has no section {name!r}"
    head, _, rest = text.partition(begin)
    return f"{head}{begin}\n{content.rstrip()}\n{end}{rest.partition(end)[2]}"
