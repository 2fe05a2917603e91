"""Whether Python found this project's packages, or folders of the same names where the command was started."""

from __future__ import annotations

import importlib.util
import os
import sys

_PACKAGES = ("daily", "features", "input_fn", "model_fn", "preprocess", "serving", "simulate", "storage", "trainer")
_ROOT = os.path.dirname(os.path.dirname(os.path.abspath(__file__)))


def refuse_shadowed() -> None:
    """Ends a command whose packages are hidden by others: `python -m` looks in the working directory first.

    Raises:
        ImportError: the same, outside of `python -m`.
    """
    here = os.path.realpath(os.getcwd())
    for name in filter(lambda name: os.path.isdir(os.path.join(_ROOT, name)), _PACKAGES):
        found = importlib.util.find_spec(name)
        origin = os.path.realpath(found.origin) if found and found.origin else ""
        hiding = (os.path.join(here, name, "__init__.py"), os.path.join(here, f"{name}.py"))
        if here != os.path.realpath(_ROOT) and origin in hiding:
            line = (
                f"{origin}: hides the package {name} of {_ROOT}, since Python looks in the "
                "working directory first; start the command in another folder, or rename this one"
            )
            # While `python -m` looks for the module, its name is not there yet.
            if sys.argv[0] == "-m":
                sys.exit(line)
            raise ImportError(line)
