"""Fields that come and go from one day's schema to the next."""

from __future__ import annotations

import dataclasses

from features.schema import Field, Schema
from preprocess.options import Options, OptionsError


def refuse_unannounced(options: Options, previous: Schema, schema: Schema) -> None:
    """Raises OptionsError where the schemas differ otherwise than --add_fields and --remove_fields say."""
    old, new = previous.by_name, schema.by_name
    for flag, found in (
        ("add_fields", [name for name in new if name not in old]),
        ("remove_fields", [name for name in old if name not in new]),
    ):
        given = getattr(options, flag)
        if set(given) != set(found):
            raise OptionsError(
                f"--{flag}={','.join(given)}: between --previous_vocabulary={options.previous_vocabulary} and "
                f"--schema={options.schema} it is {', '.join(found) or 'no field'}; give --{flag}={','.join(found)}"
            )
    changed = [name for name in new if name in old and _of_keys(old[name]) != _of_keys(new[name])]
    if changed or previous.unique_ids != schema.unique_ids:
        what = f"field {', '.join(changed)}" if changed else "unique_ids"
        raise OptionsError(
            f"--schema={options.schema}: {what} is not as in --previous_vocabulary={options.previous_vocabulary}, so "
            "its keys would mean other things; give the field another name (--add_fields, --remove_fields)"
        )


def _of_keys(field: Field) -> Field:
    """The field without what the model alone makes of its ids."""
    return dataclasses.replace(field, embedding_size=0)
