"""Rendered scenes: the embedded default data, for training with no photographs at hand.

Pictures of seven subjects are drawn from a seed by NumPy alone: height fields seen by a pinhole camera, fractal
noise, daylight with atmospheric perspective, plants painted leaf by leaf, and the finish of a camera. Shape,
texture and brightness go with colour as they do outdoors, so a colouring network has something to learn.
"""

from .painters import render, render_waves
from .sets import COUNTS, MARKER, is_blank, render_set

__all__ = ["COUNTS", "MARKER", "is_blank", "render", "render_set", "render_waves"]
