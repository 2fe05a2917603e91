"""What the commands of a day import, without the words that the libraries have for it. See `daily.processes`."""

import importlib
import logging

from model_fn import quiet_tensorflow

_MODULES = (
    "preprocess.command",
    "preprocess.report.report",
    "serving.export",
    "serving.trial",
    "trainer.exporting",
    "trainer.training",
)

quiet_tensorflow.import_alone()
# Beam warns of each optional library that is not installed.
logging.disable(logging.WARNING)
for _module in _MODULES:
    importlib.import_module(_module)
logging.disable(logging.NOTSET)
