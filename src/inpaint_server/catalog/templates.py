"""Prompts with columns in them: `{name} on {surface}`."""

from __future__ import annotations

import string
from collections.abc import Mapping
from typing import Any

from inpaint_server.catalog.rows import column_name
from inpaint_server.errors import InvalidRequest

_FORMATTER = string.Formatter()


def columns_of(template: str) -> set[str]:
    """The columns a template names.

    Raises:
        InvalidRequest: a brace is not closed, or holds more than a column's name.
    """
    return {name for _, name in _parts(template) if name is not None}


def fill(template: str, columns: Mapping[str, Any]) -> str:
    """A template with its columns' values; `{{` and `}}` stand for braces.

    Raises:
        InvalidRequest: as `columns_of`, or a column is missing or empty in this row.
    """
    filled = ""
    for text, name in _parts(template):
        filled += text
        if name is not None:
            if name not in columns:
                known = ", ".join(columns) or "none"
                raise InvalidRequest(f"Fill in the column `{name}` that a prompt names; this row has {known}.")
            filled += str(columns[name])
    return filled


def _parts(template: str) -> list[tuple[str, str | None]]:
    """Literal texts, each with the column after it, `{Product Name}` being `product_name`.

    Only plain names: `{a[0]}` or `{a!r}` would reach into objects.
    """
    wrong = InvalidRequest(f"Write a column as {{name}} and a brace as {{{{ or }}}} in the prompt '{template[:80]}'.")
    try:
        parsed = list(_FORMATTER.parse(template))
    except ValueError:
        raise wrong from None
    parts = [(text, None if name is None else column_name(name)) for text, name, _, _ in parsed]
    names = [name for _, name in parts if name is not None]
    if any(spec or conversion for _, _, spec, conversion in parsed) or not all(map(str.isidentifier, names)):
        raise wrong
    return parts
