"""What is wrong with a schema."""

from __future__ import annotations


class SchemaError(ValueError):
    """A schema that cannot be; `attribute` names the part of the field or schema that is wrong."""

    def __init__(self, message: str, attribute: str = "") -> None:
        super().__init__(message)
        self.attribute = attribute
