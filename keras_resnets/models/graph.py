"""Walks over the graph of a network, in which skippable branches are models of their own."""

import keras

from keras_resnets.layers import Merge, SkippingMerge


def layers_between(starts, ends):
    """The layers that compute some tensors of a network's graph from others.

    Args:
        starts: Keras tensors (any structure), at which the walk stops.
        ends: Keras tensors (any structure).

    Returns:
        List of layers, those of skippable branches included, from the ends on.
    """
    seen = {id(tensor) for tensor in keras.tree.flatten(starts)}
    waiting = [tensor for tensor in keras.tree.flatten(ends) if tensor is not None]
    found = {}
    while waiting:
        tensor = waiting.pop()
        if id(tensor) in seen:
            continue
        seen.add(id(tensor))
        node = _node(tensor)
        layer = node.operation
        found[id(layer)] = layer
        if isinstance(layer, SkippingMerge):
            found |= {id(inner): inner for inner in layer.branch.layers[1:]}  # without its input
        waiting += node.input_tensors
    return list(found.values())


def ordered_layers(graph_layers, output, blocks, opened=False):
    """The layers of a network in the order of its graph, those of skippable branches included.

    The order is the one that Keras gives a graph, as if no branch were a model of its own, except
    that a block's shortcut layers come just before the first layer that merges them. It is the same
    with and without stochastic depth; so are files of weights, which Keras writes in this order.

    Args:
        graph_layers: List of layers, in Keras' order of the graph with nested branches.
        output: Keras tensor, the network's output.
        blocks: Sequence of `Block`.
        opened: Boolean. `True` puts the layers of a nested branch just before its merge instead, as
            the first format of files did. Defaults to `False`.

    Returns:
        List of layers.
    """
    if opened:
        graph_layers = _opened(graph_layers)
    elif any(isinstance(layer, SkippingMerge) for layer in graph_layers):
        graph_layers = _flat_order(output)
    late = {id(layer) for block in blocks for layer in _shortcut_layers(block)}
    ordered, shortcut = [], []
    for layer in graph_layers:
        if id(layer) in late:
            shortcut.append(layer)
            continue
        if isinstance(layer, Merge):
            ordered += shortcut
            shortcut = []
        ordered.append(layer)
    return ordered + shortcut


def _shortcut_layers(block):
    """What a block does to its shortcut before the first merge."""
    if not block.branches:
        return []
    merged = [branch.merge.output for branch in block.branches]
    starts = [block.input, *(branch.source for branch in block.branches), *merged]
    return layers_between(starts, [branch.shortcut for branch in block.branches])


def _opened(graph_layers):
    for layer in graph_layers:
        if isinstance(layer, SkippingMerge):
            yield from layer.branch.layers[1:]  # without its input
        yield layer


def _flat_order(output):
    """Keras' order (keras/src/ops/function.py, `map_graph`) with every branch in the one graph."""
    finished, ranks = _depth_first(_node(output))
    depths, deepest = {}, {}
    for node, parents in reversed(finished):
        layer = node.operation
        depth = max(depths.get(id(node), 0), deepest.get(id(layer), 0))
        deepest[id(layer)] = depth
        for parent in parents:
            depths[id(parent)] = max(depth + 1, depths.get(id(parent), 0))
    layers = {id(node.operation): node.operation for node, _ in finished}
    return [layers[key] for key in sorted(layers, key=lambda key: (-deepest[key], ranks[key]))]


def _depth_first(last):
    """Nodes with their parents after all their ancestors; layers by when they are first met."""
    outside = {}  # the input node of a nested branch -> the node that it stands for
    finished, ranks, met = [], {}, {id(last)}
    ranks[id(last.operation)] = 0
    parents = _parents(last, outside)
    waiting = [(last, parents, iter(parents))]
    while waiting:
        node, parents, rest = waiting[-1]
        parent = next(rest, None)
        if parent is None:
            finished.append((node, parents))
            waiting.pop()
        elif id(parent) not in met:
            met.add(id(parent))
            ranks.setdefault(id(parent.operation), len(ranks))
            above = _parents(parent, outside)
            waiting.append((parent, above, iter(above)))
    return finished, ranks


def _parents(node, outside):
    """The nodes that a node reads, in the order of its operands, through nested branches."""
    if node.is_input:
        return []
    tensors, layer = node.input_tensors, node.operation
    if isinstance(layer, SkippingMerge):
        shortcut, x = tensors
        outside[id(_node(layer.branch.inputs[0]))] = _node(x)
        tensors = [shortcut, layer.branch.outputs[0]]
    nodes = [_node(tensor) for tensor in tensors]
    return [outside.get(id(parent), parent) for parent in nodes]


def _node(tensor):
    """The call of a layer that a Keras tensor comes from."""
    layer, index, _ = tensor._keras_history
    return layer._inbound_nodes[index]
