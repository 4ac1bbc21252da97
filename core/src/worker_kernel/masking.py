"""Masks passwords in what is shown to people: URLs, and tables of options."""

from __future__ import annotations

import re
from collections.abc import Mapping

MASK = "**"
_USERINFO = re.compile(r"(?<=://)(?P<user>[^/?#;@:\s]*):(?P<password>[^/?#;\s]*)@")
_SECRET = re.compile(r"pass(word|wd)?|secret|token|credential|api_?key|private_?key", re.IGNORECASE)
_QUERY = re.compile(r"(?P<key>[?&][^=&;]*(?:pass|secret|token|api_?key)[^=&;]*=)[^&;#]*", re.IGNORECASE)


def masked(value: object) -> object:
    """Return ``value`` with every password replaced by ``**``.

    In text: what stands between ``:`` and ``@`` of a URL, and the query parameters that are called like a secret. In
    tables, at any depth: the values of keys that are called like one. Anything else comes back as it is.
    """
    if isinstance(value, str):
        return _QUERY.sub(rf"\g<key>{MASK}", _USERINFO.sub(rf"\g<user>:{MASK}@", value))
    if isinstance(value, Mapping):
        return {
            key: MASK if item is not None and _SECRET.search(str(key)) else masked(item) for key, item in value.items()
        }
    if isinstance(value, (list, tuple)):
        return type(value)(masked(item) for item in value)
    return value
