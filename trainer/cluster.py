"""This process's part in a cluster of TF_CONFIG: which there are, what is refused, and how all of them end together.

The chief writes the state of the run into model_dir. A parameter server and a worker that is done stay until that says
that the run has ended, and end with it. Each watches the ports of the processes that it cannot do without: when one
is gone and the run has not ended, it ends too, with status 1 and a line. Started again, all go on from the last
checkpoint.
"""

from __future__ import annotations

import dataclasses
import json
import os
import socket
import threading
import time
import uuid
from collections.abc import Callable, Sequence

import tensorflow as tf

import storage
from model_fn import estimator as tf_estimator
from trainer.terminal import say

CHIEF = "chief"
WORKER = "worker"
SERVER = "ps"
EVALUATOR = "evaluator"
_ROLES = (CHIEF, WORKER, SERVER, EVALUATOR)

STATE_FILE = "cluster.json"
RUNNING = "running"
# The weights are there: workers can begin.
READY = "ready"
# All is trained; the chief evaluates and exports the last checkpoint.
CLOSING = "closing"
FINISHED = "finished"
STOPPED = "stopped"
FAILED = "failed"
_GOING_ON = (None, RUNNING, READY, CLOSING)

_POLL_SECONDS = 0.5
# A process whose port answers no more for so long is dead.
_PATIENCE = 8.0
_CONNECT_SECONDS = 2.0
# A process that was never there is waited for, which is said after so many seconds and again after twice as many, up to
# an hour.
_FIRST_WORD = 20.0
_LONGEST_SILENCE = 3600.0


class ClusterError(ValueError):
    """A TF_CONFIG or a topology that cannot be right, or a process of the run that is gone."""


@dataclasses.dataclass(frozen=True)
class Part:
    """What this process is.

    Attributes:
        role: one of the above; CHIEF where there is no cluster.
        index: number among those of its role.
        addresses: host:port of the processes of each role; empty where TF_CONFIG names none.
    """

    role: str = CHIEF
    index: int = 0
    addresses: dict[str, list[str]] = dataclasses.field(default_factory=dict)

    @property
    def is_alone(self) -> bool:
        """Whether no other process trains or holds weights; an evaluator may look on."""
        return not (self.addresses.get(WORKER) or self.addresses.get(SERVER))

    @property
    def workers(self) -> int:
        """Processes that train, the chief among them."""
        return 1 + len(self.addresses.get(WORKER, ()))

    @property
    def title(self) -> str:
        """Role and number."""
        return f"{self.role} {self.index}"


def part_of(environment: str, distribution: str) -> Part:
    """The part that TF_CONFIG gives to this process.

    Args:
        environment: TF_CONFIG; empty: no cluster.
        distribution: --distribute; "none" for none.

    Raises:
        ClusterError: it is damaged, or names a topology that would not train what it should.
    """
    try:
        found = json.loads(environment or "{}")
        cluster = {role: list(addresses) for role, addresses in found.get("cluster", {}).items() if addresses}
        task = found.get("task", {})
        role, index = str(task.get("type", CHIEF)), int(task.get("index", 0))
    except (ValueError, TypeError, AttributeError) as error:
        raise ClusterError(f"TF_CONFIG={environment}: is no JSON of cluster and task ({error})") from error
    if not cluster:
        return Part()
    _refuse_wrong(cluster, role, index, distribution)
    return Part(role, index, cluster)


def _refuse_wrong(cluster: dict[str, list[str]], role: str, index: int, distribution: str) -> None:
    if unknown := sorted({*cluster, role} - set(_ROLES)):
        raise ClusterError(f"TF_CONFIG: role {', '.join(unknown)}; allowed are {', '.join(_ROLES)}")
    if len(cluster.get(CHIEF, ())) != 1:
        raise ClusterError("TF_CONFIG: the cluster needs one chief")
    # An evaluator is no member of the cluster: it only reads checkpoints.
    if role != EVALUATOR and not 0 <= index < len(cluster.get(role, ())):
        raise ClusterError(f"TF_CONFIG: task {role} {index} is not in the cluster")
    if cluster.get(WORKER) and not cluster.get(SERVER):
        raise ClusterError(
            "TF_CONFIG: the cluster has workers and no ps (parameter server) to share the weights through; each would "
            "train a model of its own on a part of the data. Add one or more ps"
        )
    if distribution != "none" and (cluster.get(WORKER) or cluster.get(SERVER)):
        raise ClusterError(
            f"--distribute={distribution} is for the GPUs of one machine and TF_CONFIG names several processes; leave "
            "one of them out"
        )
    addresses = [address for found in cluster.values() for address in found]
    if wrong := [address for address in addresses if not address.rpartition(":")[2].isdigit()]:
        raise ClusterError(f"TF_CONFIG: address {wrong[0]!r}: allowed is host:port")
    if len(set(addresses)) < len(addresses):
        raise ClusterError("TF_CONFIG: two processes have the same address")


class RunState:
    """The state of the cluster's run, which the chief writes to model_dir and all others read."""

    def __init__(self, model_dir: str) -> None:
        self._path = storage.join(model_dir, STATE_FILE)
        found = self._read()
        # What ended before this process began is not its run, and what was about to end then may have been killed.
        self._old = found.get("run") if found.get("state") not in _GOING_ON else None
        self._old_closing = found.get("run") if found.get("state") == CLOSING else None
        self._mine = ""

    def write(self, state: str, message: str = "") -> None:
        """Sets the state; RUNNING begins a new run."""
        if state == RUNNING:
            self._mine = uuid.uuid4().hex
        found = {"run": self._mine, "state": state, "message": message}
        storage.write(self._path, [json.dumps(found).encode() + b"\n"])

    def ended(self) -> tuple[str, str] | None:
        """How this process's run has ended, with a message; None: it has not."""
        found = self._read()
        if found.get("state") in _GOING_ON or found.get("run") == self._old:
            return None
        return str(found["state"]), str(found.get("message", ""))

    def is_ready(self) -> bool:
        """Whether workers can begin."""
        return self._read().get("state") == READY

    def is_closing(self) -> bool:
        """Whether nothing is left to train, or the run has ended."""
        found = self._read()
        is_closing = found.get("state") == CLOSING and found.get("run") != self._old_closing
        return is_closing or self.ended() is not None

    def _read(self) -> dict[str, str]:
        try:
            return dict(json.loads(storage.read(self._path)))
        except FileNotFoundError:
            return {}


class Watch:
    """Looks at the ports of other processes in a thread, and says which of them it has waited for in vain.

    Args:
        addresses: title and host:port of each.
        on_death: called once with the title of the first that was there and is gone.
    """

    def __init__(self, addresses: Sequence[tuple[str, str]], on_death: Callable[[str], None]) -> None:
        self._addresses = addresses
        self._on_death = on_death
        self._seen: dict[str, float] = {}
        self._silence = _FIRST_WORD
        self._next_word = time.monotonic() + self._silence
        self._ends = threading.Event()
        self._thread = threading.Thread(target=self._run, daemon=True)

    def __enter__(self) -> Watch:
        self._thread.start()
        return self

    def __exit__(self, *unused: object) -> None:
        self._ends.set()

    def wait_until_all_came(self, is_cut_short: Callable[[], bool]) -> None:
        """Returns when each of them was seen once: one that comes behind the end of a run would wait for the next."""
        while not self.all_came() and not is_cut_short():
            time.sleep(_POLL_SECONDS)

    def all_came(self) -> bool:
        """Whether each of them was seen once."""
        return len(self._seen) == len(self._addresses)

    def _run(self) -> None:
        while not self._ends.wait(_POLL_SECONDS):
            self._speak()
            for title, address in self._addresses:
                now = time.monotonic()
                if _answers(address):
                    self._seen[title] = time.monotonic()
                elif now - self._seen.get(title, now) > _PATIENCE and not self._ends.is_set():
                    self._on_death(title)
                    return

    def _speak(self) -> None:
        absent = [f"{title} ({address})" for title, address in self._addresses if title not in self._seen]
        if not absent or time.monotonic() < self._next_word:
            return
        say(f"waiting for {', '.join(absent)}: not there yet; start it, or stop this process and all others")
        self._silence = min(2 * self._silence, _LONGEST_SILENCE)
        self._next_word = time.monotonic() + self._silence


def _answers(address: str) -> bool:
    host, _, port = address.rpartition(":")
    try:
        socket.create_connection((host.strip("[]"), int(port)), _CONNECT_SECONDS).close()
    except OSError:
        return False
    return True


def peers(part: Part, roles: Sequence[str]) -> list[tuple[str, str]]:
    """Title and address of the other processes of some roles."""
    return [
        (f"{role} {index}", address)
        for role in roles
        for index, address in enumerate(part.addresses.get(role, ()))
        if (role, index) != (part.role, part.index)
    ]


def start_server(part: Part) -> tf.distribute.Server:
    """The gRPC server of this process: whatever the others run here, they run through it, and see that it lives.

    Raises:
        ClusterError: the address cannot be listened at.
    """
    config = tf.compat.v1.ConfigProto(allow_soft_placement=True)
    try:
        return tf.distribute.Server(part.addresses, part.role, part.index, config=config)
    except tf.errors.OpError as error:
        address = part.addresses[part.role][part.index]
        raise ClusterError(
            f"TF_CONFIG: {part.title} cannot listen at {address} ({error.message}); end what holds the port, such as "
            "an earlier run, or name another"
        ) from error


class ReadyHook(tf_estimator.SessionRunHook):
    """Notes that the chief has made the weights: a worker that asks TensorFlow itself asks every half minute."""

    def __init__(self, state: RunState) -> None:
        self._state = state

    def after_create_session(self, session: tf.compat.v1.Session, coord: tf.train.Coordinator) -> None:
        """Notes it."""
        self._state.write(READY)


class DoneQueue:
    """Where each worker notes that it has trained its part: a queue on the first parameter server."""

    def __init__(self, workers: int) -> None:
        with tf.device("/job:ps/task:0"):
            self._queue = tf.queue.FIFOQueue(workers, [tf.int32], [[]], shared_name="trainer_done")
            self._add = self._queue.enqueue(0)
            self._size = self._queue.size()

    def add(self, session: tf.compat.v1.Session) -> None:
        """Notes that this worker is done."""
        session.run(self._add)

    def count(self, session: tf.compat.v1.Session) -> int:
        """How many are done."""
        return int(session.run(self._size))


class DoneHook(tf_estimator.SessionRunHook):
    """Makes the queue in the graph, and notes at a worker's end that it is done.

    Args:
        part: of this process.
        is_cut_short: whether the chief shall not wait for the others.
    """

    def __init__(self, part: Part, is_cut_short: Callable[[], bool]) -> None:
        self._part = part
        self._is_cut_short = is_cut_short

    def begin(self) -> None:
        """Makes the queue."""
        self._queue = DoneQueue(self._part.workers)

    def end(self, session: tf.compat.v1.Session) -> None:
        """Notes that this worker is done."""
        if self._part.role == WORKER:
            self._queue.add(session)

    def wait(self, session: tf.compat.v1.Session) -> bool:
        """Returns when all workers are done, or the wait was cut short; whether they are done."""
        others = self._part.workers - 1
        if others and not self._is_cut_short():
            say(f"this process's part is trained; waiting for {others} worker{'s' * (others > 1)}")
        while self._queue.count(session) < others and not self._is_cut_short():
            time.sleep(_POLL_SECONDS)
        return self._queue.count(session) >= others


def wait_until_ready(state: RunState, is_cut_short: Callable[[], bool]) -> None:
    """Waits until a worker can begin, or the run has ended."""
    while not (state.is_ready() or state.ended() or is_cut_short()):
        time.sleep(_POLL_SECONDS)


def wait_for_end(state: RunState, is_cut_short: Callable[[], bool]) -> tuple[str, str]:
    """Waits until the run has ended and says how; STOPPED where this process is to end before."""
    while not (ended := state.ended()):
        if is_cut_short():
            return STOPPED, "this process was asked to end"
        time.sleep(_POLL_SECONDS)
    return ended


def environment() -> str:
    """TF_CONFIG."""
    return os.environ.get("TF_CONFIG", "")
