"""Colorize: colour for greyscale photographs and GIFs."""

__version__ = "0.1.0"
