"""Logs in Ali-CCP's format whose true click and conversion rates are known everywhere."""

import pathlib
import runpy

# By its path: a folder called `storage` in the working directory hides the package that it is in.
runpy.run_path(str(pathlib.Path(__file__).parents[1] / "storage" / "packages.py"))["refuse_shadowed"]()
