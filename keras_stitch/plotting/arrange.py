"""Where it is drawn: the layered layout of Sugiyama and others, by ``grandalf``.

Positions are *flow*, along the data, and *cross*. Lengths are points, 1/72 inch.
"""

from __future__ import annotations

from collections.abc import Sequence
from itertools import pairwise
from typing import Any

from grandalf.graphs import Edge, Vertex, graph_core
from grandalf.layouts import Layer, SugiyamaLayout, VertexViewer
from grandalf.utils import Poset

from keras_stitch.plotting.scene import Scene

MARGIN, SPACE, HEAD, TITLE = 14.0, 16.0, 6.0, 22.0

LANE_PAD, LANE_LABEL = 9.0, (84.0, 20.0)  # room for its label: at the left, or above it


class _RankedLayout(SugiyamaLayout):  # type: ignore[misc, unused-ignore]
    """grandalf's layout with layers that were decided before."""

    conflicts: Any

    def rank_all(self, roots: Sequence[Vertex], optimize: bool = False) -> None:
        self.layers = [Layer() for _ in range(1 + max(vertex.data.rank for vertex in self.g.sV))]
        for vertex in self.g.sV:
            self.grx[vertex].rank = vertex.data.rank
            self.layers[vertex.data.rank].append(vertex)

    def _detect_alignment_conflicts(self) -> None:
        super()._detect_alignment_conflicts()
        self.conflicts = set(self.conflicts)  # only ever searched, and slow to search as a list


def arrange(scene: Scene, to_the_right: bool) -> float:
    """Places everything by Sugiyama's method and returns the picture's width.

    Long arrows get room of their own in each layer they cross, so that they cross no box.
    """
    scene.to_the_right = to_the_right
    vertices = {node: Vertex(node) for node in scene.nodes}
    for node, vertex in vertices.items():
        node.measure(to_the_right)
        vertex.view = VertexViewer(node.across, 1)
    graph = graph_core()
    graph.sV = Poset(vertices.values())  # the constructor refuses graphs of several parts
    into_label = {arrow: Edge(vertices[arrow.source], vertices[arrow.label]) for arrow in scene.arrows}
    for arrow, edge in into_label.items():
        graph.add_edge(edge)
        graph.add_edge(Edge(vertices[arrow.label], vertices[arrow.target]))
    layout = _RankedLayout(graph)
    layout.dw, layout.xspace = 4, SPACE
    layout.init_all(roots=[], inverted_edges=[])
    layout.draw(4)
    for layer in layout.layers:
        for before, after in pairwise(layer):  # between parts that are not connected it may leave no room
            least = before.view.xy[0] + (before.view.w + after.view.w) / 2 + SPACE
            after.view.xy = (max(after.view.xy[0], least), 0)
    views = [vertex.view for layer in layout.layers for vertex in layer]
    lane_label = LANE_LABEL[to_the_right] if scene.lanes else 0
    shift = MARGIN + lane_label + TITLE * to_the_right - min(view.xy[0] - view.w / 2 for view in views)
    scene.cross_end = max(view.xy[0] + view.w / 2 for view in views) + shift + MARGIN
    for node, vertex in vertices.items():
        node.cross = vertex.view.xy[0] + shift
    for arrow, edge in into_label.items():
        between = range(arrow.source.rank + 1, arrow.label.rank)
        arrow.bends = [(rank, layout.ctrls[edge][rank].view.xy[0] + shift) for rank in between]
    flow_end = _stack_layers(scene)
    return flow_end if to_the_right else scene.cross_end


def _stack_layers(scene: Scene) -> float:
    """Gives each layer its span on the flow axis: far apart where arrows go far sideways. Returns the end."""
    depth = [0.0] * (1 + max(node.rank for node in scene.nodes))
    sideways = [0.0] * len(depth)
    for node in scene.nodes:
        depth[node.rank] = max(depth[node.rank], node.along)
    for (_, before), (rank, after) in (pair for a in scene.arrows for stops in a.stops() for pair in pairwise(stops)):
        sideways[rank] = max(sideways[rank], abs(after - before))
    borders = {rank for first, last in scene.lanes.values() for rank in (first, last + 1)}
    position, scene.layers = MARGIN + TITLE * (not scene.to_the_right), []
    for rank, size in enumerate(depth):
        position += (HEAD + 8 + min(130, sideways[rank] * 0.09) if rank else 0) + LANE_PAD * (rank in borders)
        scene.layers.append((position, position + size))
        position += size
    for node in scene.nodes:
        node.flow = sum(scene.layers[node.rank]) / 2
    return position + MARGIN
