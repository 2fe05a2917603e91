import subprocess
import sys

import pytest

FIRST_SESSION = """
from model_fn import quiet_tensorflow
quiet_tensorflow.import_quietly()
import tensorflow as tf
with tf.Graph().as_default(), tf.compat.v1.Session() as session:
    table = tf.compat.v1.get_variable("table", [10, 4], use_resource=True)
    session.run(tf.compat.v1.global_variables_initializer())
    print(session.run(tf.gather(table, [1, 2])).shape)
"""

FAILS = """
import os, sys
from model_fn import quiet_tensorflow
with quiet_tensorflow._held_back():
    os.write(2, b"what a library said; ")
    {then}
"""


KERAS = """
from model_fn import quiet_tensorflow
quiet_tensorflow.import_quietly()
import sys
import tensorflow as tf
print("keras" in sys.modules, tf.keras.optimizers.Adam.__name__)
"""


def run(code):
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True)
    return done.returncode, done.stdout, done.stderr


def test_tensorflow_says_nothing_of_its_own():
    assert run(FIRST_SESSION) == (0, "(2, 4)\n", "")


@pytest.mark.parametrize(
    ("then", "expected"), [("pass", (0, "", "")), ("sys.exit('failed')", (1, "", "what a library said; failed\n"))]
)
def test_what_is_held_back_comes_with_an_error(then, expected):
    assert run(FAILS.format(then=then)) == expected


def test_keras_comes_when_it_is_asked_for_and_not_before():
    assert run(KERAS)[:2] == (0, "False Adam\n")
