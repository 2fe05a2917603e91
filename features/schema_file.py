"""Reads and writes schema files (YAML). A mistake is reported with file, line, key, value and what is allowed."""

from __future__ import annotations

import dataclasses
import functools
import importlib.resources
import os
from collections.abc import Mapping
from typing import Any

import yaml

import storage
from features.schema import Columns, Field, Schema, SchemaError

_SCALARS = {"str": str, "bool": bool, "int": int}
_LABELS = ("click", "conversion")
# Keys of the file that are no attributes of a Schema: they are merged into its fields and columns.
_DEFAULTS = "defaults"
_MISSING = "missing"


def load(path_or_name: str) -> Schema:
    """Schema of a file, or the bundled one of that name (`aliccp`).

    Raises:
        SchemaError: with the file, line, key and value that is wrong, and what is allowed.
        FileNotFoundError: no such file and no such bundled schema.
    """
    if storage.exists(path_or_name):
        return parse(storage.read(path_or_name), path_or_name)
    bundled = importlib.resources.files("features") / "schemas" / f"{path_or_name}.yaml"
    if os.sep not in path_or_name and bundled.is_file():
        return parse(bundled.read_text(encoding="utf-8"), f"{path_or_name}.yaml")
    raise FileNotFoundError(f"{path_or_name}: no such schema file; bundled is {', '.join(bundled_names())}")


def bundled_names() -> list[str]:
    """Names that `load` knows without a file."""
    folder = importlib.resources.files("features") / "schemas"
    return sorted(entry.name.removesuffix(".yaml") for entry in folder.iterdir() if entry.name.endswith(".yaml"))


# Each step of the job reads the schema anew, and taking YAML apart takes longer than the rest of a small step.
@functools.lru_cache
def parse(text: str | bytes, file: str) -> Schema:
    """Schema of a YAML text; `file` is for messages. Raises SchemaError."""
    try:
        text = text if isinstance(text, str) else text.decode("utf-8")
        root = yaml.compose(text, Loader=yaml.SafeLoader)
    except UnicodeDecodeError as error:
        raise SchemaError(f"{file}: no text in UTF-8 ({error})") from error
    except yaml.MarkedYAMLError as error:
        mark = error.problem_mark or error.context_mark
        place = f"line {mark.line + 1}, column {mark.column + 1}: " if mark else ""
        raise SchemaError(f"{file}: not YAML: {place}{error.problem or error.context}") from error
    except yaml.YAMLError as error:
        raise SchemaError(f"{file}: not YAML: {' '.join(str(error).split())}") from error
    if root is None:
        raise SchemaError(f"{file}: the file is empty; it needs name, columns and fields")
    return _Reader(file).schema(root)


def dump(schema: Schema) -> str:
    """YAML text that `parse` turns into an equal schema."""
    raw = {
        "name": schema.name,
        "unique_ids": schema.unique_ids,
        **{name: value for name, value in _changed(schema).items() if name not in ("name", "unique_ids", "fields")},
        "columns": _column_entries(schema.columns),
        "fields": [_field_entries(field) for field in schema.fields],
    }
    return yaml.safe_dump(raw, sort_keys=False, allow_unicode=True, default_flow_style=None, width=120)


def _changed(part: Field | Columns | Schema) -> dict[str, Any]:
    """The attributes that differ from their defaults, tuples as lists."""
    found = {}
    for attribute in dataclasses.fields(part):
        value = getattr(part, attribute.name)
        if value != attribute.default:
            found[attribute.name] = list(value) if isinstance(value, tuple) else value
    return found


def _field_entries(field: Field) -> dict[str, Any]:
    """What the file says of a field: not what follows from the rest."""
    implied: dict[str, Any] = {"column": field.name, "vocabulary": field.name}
    implied["columns"] = [field.column] if len(field.columns) == 1 else None
    if len(field.columns) > 1:
        implied["column"] = field.column
    if field.weight_column:
        implied["weighted"] = True
    return {name: value for name, value in _changed(field).items() if name not in implied or implied[name] != value}


def _column_entries(columns: Columns) -> dict[str, Any]:
    found = _changed(columns)
    for label in _LABELS:
        spellings, others = found.pop(f"{label}_is", None), found.pop(f"{label}_not", None)
        if spellings is not None or others is not None:
            found[label] = {
                "column": getattr(columns, label),
                "is": list(getattr(columns, f"{label}_is")),
                "not": list(getattr(columns, f"{label}_not")),
            }
    return found


class _Reader:
    """Walks YAML nodes, which know their lines, and makes the dataclasses of them."""

    def __init__(self, file: str) -> None:
        self._file = file
        self._loader = yaml.SafeLoader("")

    def schema(self, root: yaml.Node) -> Schema:
        attributes = {attribute.name: str(attribute.type) for attribute in dataclasses.fields(Schema)}
        parts = self._mapping(root, {*attributes, _DEFAULTS, _MISSING}, {"columns", "fields"}, "the schema")
        fields = parts["fields"]
        if not isinstance(fields, yaml.SequenceNode):
            raise self._error(fields, "fields: a list is needed, each entry with name, group, side, kind and type")
        missing = self._texts(parts[_MISSING], _MISSING) if _MISSING in parts else ()
        defaults = self._defaults(parts.get(_DEFAULTS), missing)
        values: dict[str, Any] = {"name": os.path.basename(self._file)}
        values |= {
            name: self._value(node, name, attributes[name])
            for name, node in parts.items()
            if name not in ("fields", "columns", _DEFAULTS, _MISSING)
        }
        values["fields"] = tuple(
            self._record(node, Field, f"field {number}", defaults) for number, node in enumerate(fields.value, 1)
        )
        values["columns"] = self._columns(parts["columns"], missing)
        try:
            return Schema(**values)
        except SchemaError as error:
            raise self._error(parts.get(error.attribute, root), str(error)) from error

    def _defaults(self, node: yaml.Node | None, missing: tuple[str, ...]) -> dict[str, Any]:
        """Values of the keys that a field leaves out."""
        found: dict[str, Any] = {_MISSING: missing} if missing else {}
        if node is None:
            return found
        allowed = {attribute.name: str(attribute.type) for attribute in dataclasses.fields(Field)}
        own = {"name", "column", "columns", "weight_column"}
        parts = self._mapping(node, allowed.keys() - own, set(), _DEFAULTS)
        return found | {name: self._value(part, name, allowed[name]) for name, part in parts.items()}

    def _columns(self, node: yaml.Node, missing: tuple[str, ...]) -> Columns:
        """`columns`; a label may be a mapping of column and spellings."""
        spelled = {f"{label}_{key}" for label in _LABELS for key in ("is", "not")}
        attributes = {a.name for a in dataclasses.fields(Columns)} - spelled
        parts = self._mapping(node, attributes, set(_LABELS), "columns")
        values: dict[str, Any] = {_MISSING: missing}
        for name, part in parts.items():
            if name in _LABELS and isinstance(part, yaml.MappingNode):
                values |= self._label(name, part)
            elif name == _MISSING or (name == "request" and isinstance(part, yaml.SequenceNode)):
                values[name] = self._texts(part, name)
            else:
                values[name] = self._scalar(part, name, str)
        return self._made(Columns, values, parts, node, "columns")

    def _label(self, name: str, node: yaml.MappingNode) -> dict[str, Any]:
        parts = self._mapping(node, {"column", "is", "not"}, {"column", "is"}, name)
        return {
            name: self._scalar(parts["column"], "column", str),
            f"{name}_is": self._texts(parts["is"], f"{name}: is"),
            f"{name}_not": self._texts(parts["not"], f"{name}: not") if "not" in parts else (),
        }

    def _record(self, node: yaml.Node, kind: type, what: str, defaults: Mapping[str, Any]) -> Any:
        attributes = {attribute.name: attribute for attribute in dataclasses.fields(kind)}
        needed = {name for name, attribute in attributes.items() if attribute.default is dataclasses.MISSING}
        parts = self._mapping(node, set(attributes), needed - defaults.keys(), what)
        given = {name: self._value(part, name, str(attributes[name].type)) for name, part in parts.items()}
        return self._made(kind, {**defaults, **given}, parts, node, what)

    def _made(
        self, kind: type, values: Mapping[str, Any], parts: Mapping[str, yaml.Node], node: yaml.Node, what: str
    ) -> Any:
        try:
            return kind(**values)
        except SchemaError as error:
            label = f"field {values['name']!r}" if "name" in values else what
            raise self._error(parts.get(error.attribute, node), f"{label}: {error}") from error

    def _mapping(self, node: yaml.Node, allowed: set[str], needed: set[str], what: str) -> dict[str, yaml.Node]:
        if not isinstance(node, yaml.MappingNode):
            raise self._error(node, f"{what}: keys and values are needed ({', '.join(sorted(needed or allowed))})")
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
        if type_name.startswith("tuple[str"):
            return self._texts(node, name)
        if type_name.startswith("tuple"):
            return self._numbers(node, name)
        return self._scalar(node, name, _SCALARS[type_name.split(" ")[0]])

    def _numbers(self, node: yaml.Node, name: str) -> tuple[float, ...]:
        value = self._construct(node)
        if not isinstance(value, list) or any(isinstance(x, bool) or not isinstance(x, int | float) for x in value):
            raise self._error(node, f"{name}: {value!r}; a list of numbers is needed")
        return tuple(float(x) for x in value)

    def _texts(self, node: yaml.Node, name: str) -> tuple[str, ...]:
        """Texts as they stand in the file, also where YAML would read a number or null; a single one is a list."""
        nodes = node.value if isinstance(node, yaml.SequenceNode) else [node]
        if not all(isinstance(entry, yaml.ScalarNode) for entry in nodes):
            raise self._error(node, f"{name}: {self._construct(node)!r}; a list of texts is needed")
        return tuple(str(entry.value) for entry in nodes)

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
