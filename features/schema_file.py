"""Reads and writes schema files (YAML). A mistake is reported with file, line, key, value and what is allowed."""

from __future__ import annotations

import dataclasses
import importlib.resources
import os
from typing import Any

import yaml

from features.schema import Columns, Field, Schema, SchemaError

_SCALARS = {"str": str, "bool": bool, "int": int}


def load(path_or_name: str) -> Schema:
    """Schema of a file, or the bundled one of that name (`aliccp`).

    Raises:
        SchemaError: with the file, line, key and value that is wrong, and what is allowed.
        FileNotFoundError: no such file and no such bundled schema.
    """
    if os.path.exists(path_or_name):
        with open(path_or_name, encoding="utf-8") as file:
            return parse(file.read(), path_or_name)
    bundled = importlib.resources.files("features") / "schemas" / f"{path_or_name}.yaml"
    if os.sep not in path_or_name and bundled.is_file():
        return parse(bundled.read_text(encoding="utf-8"), f"{path_or_name}.yaml")
    raise FileNotFoundError(f"{path_or_name}: no such schema file; bundled is {', '.join(bundled_names())}")


def bundled_names() -> list[str]:
    """Names that `load` knows without a file."""
    folder = importlib.resources.files("features") / "schemas"
    return sorted(entry.name.removesuffix(".yaml") for entry in folder.iterdir() if entry.name.endswith(".yaml"))


def parse(text: str, file: str) -> Schema:
    """Schema of a YAML text; `file` is for messages. Raises SchemaError."""
    try:
        root = yaml.compose(text, Loader=yaml.SafeLoader)
    except yaml.YAMLError as error:
        raise SchemaError(f"{file}: not YAML: {error}") from error
    if root is None:
        raise SchemaError(f"{file}: the file is empty; it needs name, columns and fields")
    return _Reader(file).schema(root)


def dump(schema: Schema) -> str:
    """YAML text that `parse` turns into an equal schema."""
    raw = {
        "name": schema.name,
        "unique_ids": schema.unique_ids,
        "columns": _without_defaults(schema.columns),
        "fields": [_without_defaults(field) for field in schema.fields],
    }
    return yaml.safe_dump(raw, sort_keys=False, allow_unicode=True, default_flow_style=None, width=120)


def _without_defaults(part: Field | Columns) -> dict[str, Any]:
    found = {}
    for attribute in dataclasses.fields(part):
        value = getattr(part, attribute.name)
        if value != attribute.default and not (attribute.name == "column" and value == getattr(part, "name", None)):
            found[attribute.name] = list(value) if isinstance(value, tuple) else value
    return found


class _Reader:
    """Walks YAML nodes, which know their lines, and makes the dataclasses of them."""

    def __init__(self, file: str) -> None:
        self._file = file
        self._loader = yaml.SafeLoader("")

    def schema(self, root: yaml.Node) -> Schema:
        parts = self._mapping(root, {"name", "unique_ids", "columns", "fields"}, {"columns", "fields"}, "the schema")
        fields = parts["fields"]
        if not isinstance(fields, yaml.SequenceNode):
            raise self._error(fields, "fields: a list is needed, each entry with name, group, side, kind and type")
        values = {
            "name": self._scalar(parts["name"], "name", str) if "name" in parts else os.path.basename(self._file),
            "fields": tuple(
                self._record(node, Field, f"field {number}") for number, node in enumerate(fields.value, 1)
            ),
            "columns": self._record(parts["columns"], Columns, "columns"),
            "unique_ids": self._scalar(parts["unique_ids"], "unique_ids", bool) if "unique_ids" in parts else False,
        }
        try:
            return Schema(**values)
        except SchemaError as error:
            raise self._error(parts.get(error.attribute, root), str(error)) from error

    def _record(self, node: yaml.Node, kind: type, what: str) -> Any:
        attributes = {attribute.name: attribute for attribute in dataclasses.fields(kind)}
        needed = {name for name, attribute in attributes.items() if attribute.default is dataclasses.MISSING}
        parts = self._mapping(node, set(attributes), needed, what)
        values = {name: self._value(part, name, str(attributes[name].type)) for name, part in parts.items()}
        try:
            return kind(**values)
        except SchemaError as error:
            label = f"field {values['name']!r}" if "name" in values else what
            raise self._error(parts.get(error.attribute, node), f"{label}: {error}") from error

    def _mapping(self, node: yaml.Node, allowed: set[str], needed: set[str], what: str) -> dict[str, yaml.Node]:
        if not isinstance(node, yaml.MappingNode):
            raise self._error(node, f"{what}: keys and values are needed ({', '.join(sorted(needed))})")
        parts: dict[str, yaml.Node] = {}
        for key, value in node.value:
            if key.value not in allowed:
                raise self._error(key, f"{what}: unknown key {key.value!r}; allowed are {', '.join(sorted(allowed))}")
            if key.value in parts:
                raise self._error(key, f"{what}: key {key.value!r} occurs twice")
            parts[key.value] = value
        if missing := needed - parts.keys():
            raise self._error(node, f"{what}: missing {', '.join(sorted(missing))}")
        return parts

    def _value(self, node: yaml.Node, name: str, type_name: str) -> Any:
        if type_name.startswith("tuple"):
            value = self._construct(node)
            if not isinstance(value, list) or any(isinstance(x, bool) or not isinstance(x, int | float) for x in value):
                raise self._error(node, f"{name}: {value!r}; a list of numbers is needed")
            return tuple(float(x) for x in value)
        return self._scalar(node, name, _SCALARS[type_name.split(" ")[0]])

    def _scalar(self, node: yaml.Node, name: str, kind: type) -> Any:
        value = self._construct(node)
        if kind is str and isinstance(node, yaml.ScalarNode):
            # A field may be called 101: YAML reads a number, its text is the name.
            value = node.value if value is not None else None
        if not isinstance(value, kind) or (kind is int and isinstance(value, bool)):
            wanted = {str: "a text", bool: "true or false", int: "a whole number"}[kind]
            raise self._error(node, f"{name}: {value!r}; {wanted} is needed")
        return value

    def _construct(self, node: yaml.Node) -> Any:
        return self._loader.construct_object(node, deep=True)

    def _error(self, node: yaml.Node, message: str) -> SchemaError:
        return SchemaError(f"{self._file}, line {node.start_mark.line + 1}: {message}")
