"""Pictures, animations and videos: files in, uint8 arrays out, and back again.

Pillow and PyAV decode and encode; this package adds what they leave open. Pictures of every pixel format come out as
upright 8-bit sRGB. The frames of a clip come out as a player shows them, one at a time, with their exact timing, and go
back in the same way; a GIF gets one palette for the whole clip, or one a scene, so that its colours do not flicker.
Files are written under a temporary name and renamed: never half written. Whatever is wrong with a file is a
`MediaError`, one line.
Everything here may be called from several threads.
"""

from colorize.media.animation import Animation, Flipbook, Timing, batches, on_white
from colorize.media.common import MAX_PIXELS, MediaError
from colorize.media.gif import Gif, read_gif, write_gif
from colorize.media.kinds import (
    CLIP_SUFFIXES,
    check_target,
    choose_target,
    is_clip,
    is_single,
    read_animation,
    write_animation,
)
from colorize.media.palette import Palettes, gif_palette, palette_error, sample_pixels
from colorize.media.pictures import (
    PICTURE_SUFFIXES,
    Picture,
    decode_picture,
    picture_of,
    picture_size,
    read_picture,
    resize,
    write_picture,
)

__all__ = [
    "CLIP_SUFFIXES",
    "MAX_PIXELS",
    "PICTURE_SUFFIXES",
    "Animation",
    "Flipbook",
    "Gif",
    "MediaError",
    "Palettes",
    "Picture",
    "Timing",
    "batches",
    "check_target",
    "choose_target",
    "decode_picture",
    "gif_palette",
    "is_clip",
    "is_single",
    "on_white",
    "palette_error",
    "picture_of",
    "picture_size",
    "read_animation",
    "read_gif",
    "read_picture",
    "resize",
    "sample_pixels",
    "write_animation",
    "write_gif",
    "write_picture",
]
