"""A picture of a wired graph, as SVG or PNG, without the ``dot`` program.

Three steps: ``scene`` says what is drawn, ``arrange`` where, ``painting`` how. A picture flows down, or to
the right where flowing down gets wider than a page. What enters a merge or a submodel is drawn in its
order, from the left or from the top. Every state is also a word or a shape, so the picture needs neither
colours nor a legend to be read.
"""

from keras_stitch.plotting.painting import draw, save_plot

__all__ = ["draw", "save_plot"]
