"""Graphs of models that hold other models."""

from keras_resnets.layers import SkippingMerge


def graph_of(operation):
    """The functional graph of a model, `None` for anything else.

    Args:
        operation: Anything: a functional model gives itself, a sequential one that has been built
            its graph.
    """
    graph = getattr(operation, "_functional", None) or operation
    return graph if hasattr(graph, "_run_through_graph") else None


def operations_of(graph):
    """Yields all operations of a graph in its order: each nested model, then what it is made of.

    Args:
        graph: Functional `keras.Model`.
    """
    yield graph
    for operation in graph.operations:
        inner = graph_of(operation)
        if inner is not None:
            if inner is not operation:
                yield operation
            yield from operations_of(inner)
            continue
        if isinstance(operation, SkippingMerge):
            yield from operations_of(operation.branch)
        yield operation
