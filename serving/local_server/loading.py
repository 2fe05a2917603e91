"""Loads a SavedModel beside calls that go on: in pieces, and on the caller's thread alone, which has a low priority."""

from __future__ import annotations

import itertools
from collections.abc import Iterator, Mapping, Sequence
from typing import Any

import tensorflow as tf
from tensorflow.core.framework import graph_pb2
from tensorflow.core.protobuf import config_pb2
from tensorflow.python.framework import ops
from tensorflow.python.saved_model import loader_impl

# TensorFlow holds the interpreter's lock while it adds nodes to a graph: 10 ms for so many, a third of a second for all
# of a model, in which no other call could go on.
_NODES_AT_ONCE = 400


class LoadingSession(tf.compat.v1.Session):
    """A session whose `run`, which loading alone calls, works on the caller's thread.

    That thread has a low priority: on TensorFlow's own threads, weights and vocabulary would be read at the cost of
    the calls that other versions answer.
    """

    def run(self, fetches: Any, feed_dict: Any = None, options: Any = None, run_metadata: Any = None) -> Any:
        """As `Session.run`."""
        options = options or config_pb2.RunOptions(inter_op_thread_pool=-1)
        return super().run(fetches, feed_dict, options, run_metadata)


def load(session: LoadingSession, path: str) -> Any:
    """Loads the SavedModel in `path` into an empty session; returns its MetaGraphDef. Raises what TensorFlow raises."""
    loader = loader_impl.SavedModelLoader(path)
    meta_graph = loader.get_meta_graph_def_from_tags([tf.saved_model.SERVING])
    with session.graph.as_default():
        _import_in_pieces(meta_graph.graph_def, session.graph)
        for key in (tf.compat.v1.saved_model.MAIN_OP_KEY, tf.compat.v1.saved_model.LEGACY_INIT_OP_KEY):
            if key in meta_graph.collection_def:
                for name in meta_graph.collection_def[key].node_list.value:
                    session.graph.add_to_collection(key, session.graph.as_graph_element(name))
        saver = meta_graph.saver_def
        if saver.restore_op_name:
            session.run(saver.restore_op_name, {saver.filename_tensor_name: loader.variables_path})
        loader.run_init_ops(session, [tf.saved_model.SERVING])
    return meta_graph


def free(graph: tf.Graph) -> None:
    """Frees a graph that no session has any more: it refers to itself, and would wait for a collection of garbage."""
    ops.dismantle_graph(graph)


def _import_in_pieces(graph_def: graph_pb2.GraphDef, graph: tf.Graph) -> None:
    """Adds the nodes, which stand in the order of their making, to a graph."""
    places = {node.name: place for place, node in enumerate(graph_def.node)}
    ends = [*_cuts(graph_def.node, places), len(graph_def.node)]
    for begin, end in itertools.pairwise([0, *ends]):
        piece = graph_pb2.GraphDef(versions=graph_def.versions, node=graph_def.node[begin:end])
        if not begin:
            piece.library.CopyFrom(graph_def.library)
        for node in piece.node:
            # A wish to be beside a node that may be in another piece. What has a state is beside it in any case.
            node.attr.pop("_class", None)
        before = {name for node in piece.node for name in node.input if places[_op_name(name)] < begin}
        tf.import_graph_def(piece, {name: _tensor(graph, name) for name in before}, name="")


def _cuts(nodes: Sequence[Any], places: Mapping[str, int]) -> Iterator[int]:
    """Places to cut at: not inside a loop, nor between a/b and a, which behind a piece with a/b gets another name."""
    first_inside: dict[str, int] = {}
    reach = 0
    spans = []
    for place, node in enumerate(nodes):
        spans.append(max([place, *(places[_op_name(name)] for name in node.input)]))
        if node.name in first_inside:
            inside = first_inside[node.name]
            spans[inside] = max(spans[inside], place)
        parts = node.name.split("/")
        for count in range(1, len(parts)):
            first_inside.setdefault("/".join(parts[:count]), place)
    begin = 0
    for place, end in enumerate(spans):
        if place > reach and place - begin >= _NODES_AT_ONCE:
            begin = place
            yield place
        reach = max(reach, end)


def _op_name(name: str) -> str:
    return name.removeprefix("^").split(":")[0]


def _tensor(graph: tf.Graph, name: str) -> tf.Tensor:
    """What an input of that name means; where it only says what must have run before, a tensor that is there then."""
    op = graph.get_operation_by_name(_op_name(name))
    if not name.startswith("^"):
        return op.outputs[int(name.partition(":")[2] or 0)]
    if op.outputs:
        return op.outputs[0]
    with graph.control_dependencies([op]):
        return tf.constant(0, name=f"has_run/{op.name}")
