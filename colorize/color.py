"""Colour conversion: the only file that knows how Lab is scaled.

A network sees ``l`` = L / 100 and predicts ``ab`` = (a, b) / 128, so that tanh's (-1, 1) covers every sRGB colour
(the sRGB gamut reaches a in [-86.2, 98.2] and b in [-107.9, 94.5]). CIE Lab here is D65, 2 degree observer, sRGB
primaries: what scikit-image's ``rgb2lab`` and Kornia's ``rgb_to_lab`` compute. Always float32, under any precision
of the surrounding code: bfloat16 would err by half an L unit.
"""

from __future__ import annotations

from collections.abc import Callable
from functools import cache

import kornia.color
import torch
from torch import Tensor

L_SCALE = 100.0
AB_SCALE = 128.0
_CACHED_PIXELS = 2**17  # converted at once on a CPU: more of them leave its cache, fewer wait for its threads
# Kornia's sRGB primaries, each row divided by the D65 white, and their inverse, each column multiplied by it
_RGB_TO_XYZ = (
    (0.412453 / 0.95047, 0.357580 / 0.95047, 0.180423 / 0.95047),
    (0.212671, 0.715160, 0.072169),
    (0.019334 / 1.08883, 0.119193 / 1.08883, 0.950227 / 1.08883),
)
_XYZ_TO_RGB = torch.tensor(
    [
        (3.2404813432005266 * 0.95047, -1.5371515162713185, -0.4985363261688878 * 1.08883),
        (-0.9692549499965682 * 0.95047, 1.8759900014898907, 0.0415559265582928 * 1.08883),
        (0.0556466391351772 * 0.95047, -0.2040413383665112, 1.0573110696453443 * 1.08883),
    ]
)
BIN_SIZE = 10.0  # of `ab_bins`, in units of a and b

# A colour counts as inside the gamut when sRGB leaves [0, 1] by less than 1e-4: far below the 1/255 of a uint8 step,
# far above float32's rounding of white. Here as linear light, so that looking takes no powers.
_DARKEST, _BRIGHTEST = -1e-4 / 12.92, ((1 + 1e-4 + 0.055) / 1.055) ** 2.4
_BISECTIONS = 12  # chroma to 1 part in 4096, a tenth of a uint8 step at the most vivid colour


def to_float(rgb: Tensor) -> Tensor:
    """uint8 RGB in 0..255 of any shape -> float32 in [0, 1]."""
    assert rgb.dtype == torch.uint8, f"expected uint8, got {rgb.dtype}"
    return rgb.float().div_(255.0)


def to_uint8(rgb: Tensor) -> Tensor:
    """Float RGB in [0, 1] of any shape -> uint8, rounded to the nearest and clipped."""
    return rgb.clamp(0.0, 1.0).mul_(255.0).round_().to(torch.uint8)


def rgb_to_lab(rgb: Tensor) -> Tensor:
    """RGB (B, 3, H, W) in [0, 1] -> CIE Lab (B, 3, H, W), float32, L in [0, 100], a and b unscaled."""
    assert rgb.is_floating_point(), f"expected float RGB in [0, 1], got {rgb.dtype}"
    with torch.autocast(rgb.device.type, enabled=False):
        return kornia.color.rgb_to_lab(rgb.float())


def rgb_to_l_ab(rgb: Tensor, out: tuple[Tensor, Tensor] | None = None) -> tuple[Tensor, Tensor]:
    """RGB (B, 3, H, W) in [0, 1] -> l (B, 1, H, W) in [0, 1] and ab (B, 2, H, W) within (-1, 1), both float32.

    Kornia's `rgb_to_lab`, scaled; on a CPU the same formulas (within 1e-5) in less than half the time, piece by piece
    so that what lies between stays in the processor's cache. ``out`` takes the result where no gradient is wanted.
    """
    assert rgb.is_floating_point(), f"expected float RGB in [0, 1], got {rgb.dtype}"
    if torch.compiler.is_compiling() or rgb.device.type != "cpu":
        l, ab = _rgb_to_l_ab_by_planes(rgb)
        return (l, ab) if out is None else (out[0].copy_(l), out[1].copy_(ab))
    if rgb.dtype != torch.float32 or (rgb.requires_grad and torch.is_grad_enabled()):
        lab = rgb_to_lab(rgb)
        l, ab = lab[:, :1] / L_SCALE, lab[:, 1:] / AB_SCALE
        return (l, ab) if out is None else (out[0].copy_(l), out[1].copy_(ab))
    count, _, height, width = rgb.shape
    if out is None:
        out = rgb.new_empty(count, 1, height, width), rgb.new_empty(count, 2, height, width)
    batch = max(1, _CACHED_PIXELS // max(1, height * width))
    rows = max(1, _CACHED_PIXELS // max(1, batch * width))
    pieces = (
        (a.split(rows, 2) for a in whole) for whole in zip(*(x.split(batch) for x in (rgb.detach(), *out)), strict=True)
    )
    for piece in pieces:
        for colours, l, ab in zip(*piece, strict=True):
            _convert(colours, l, ab)
    return out


def rgb_to_l(rgb: Tensor) -> Tensor:
    """RGB (B, 3, H, W), uint8 or floating in [0, 1] -> l (B, 1, H, W) in [0, 1], float32: `rgb_to_l_ab` without ab.

    Of uint8 on a CPU each channel's part of the luminance is looked up, a quarter of the time; and where R, G and B
    are the same everywhere, as they are of what is to be coloured, l itself is: a fifteenth.
    """
    if rgb.dtype != torch.uint8 or rgb.device.type != "cpu":
        return rgb_to_l_ab(to_float(rgb) if rgb.dtype == torch.uint8 else rgb)[0]
    red, green, blue = rgb.unbind(1)
    if torch.equal(red, green) and torch.equal(red, blue):
        l = _grey_levels().index_select(0, red.flatten().int())
    else:
        l = _l_of_levels(red, green, blue)
    return l.view_as(rgb[:, :1])


def _l_of_levels(*channels: Tensor) -> Tensor:
    """l (N,) of the R, G and B, uint8, of N pixels in all."""
    y = torch.zeros(())
    for table, channel in zip(_luminances(), channels, strict=True):
        y = table.index_select(0, channel.flatten().int()).add_(y)
    return _cube_root(y, torch.empty_like(y)).mul_(116 / L_SCALE).sub_(16 / L_SCALE)


@cache
def _grey_levels() -> Tensor:
    """l of each level of grey: (256,)."""
    levels = torch.arange(256, dtype=torch.uint8)
    return _l_of_levels(levels, levels, levels)


@cache
def _luminances() -> Tensor:
    """What each level of R, of G and of B adds to the luminance Y: (3, 256)."""
    levels = torch.arange(256, dtype=torch.float64) / 255
    linear = torch.where(levels > 0.04045, ((levels + 0.055) / 1.055) ** 2.4, levels / 12.92)
    return torch.outer(torch.tensor(_RGB_TO_XYZ[1], dtype=torch.float64), linear).float()


def _convert(rgb: Tensor, l: Tensor, ab: Tensor) -> None:
    """Kornia's `rgb_to_lab` with as few passes as PyTorch's operators allow; ``l`` and ``ab`` take the result.

    Each of the two curves is a power above a threshold and a line below it. Both parts are computed everywhere, one
    with what lies below cut off and one with what lies above: their sum needs neither masks nor log(0). exp and log
    are MKL's, four times as fast as PyTorch's pow.
    """
    bend, slope = 0.04045, 1 / 12.92
    cut = torch.clamp(rgb, max=bend, out=torch.empty_like(rgb, memory_format=torch.contiguous_format)).sub_(bend)
    part = torch.clamp(rgb, min=bend, out=torch.empty_like(cut))
    linear = part.add_(0.055).mul_(1 / 1.055).log_().mul_(2.4).exp_().add_(cut, alpha=slope)
    red, green, blue = linear.unbind(1)
    xyz = cut
    for plane, (r, g, b) in zip(xyz.unbind(1), _RGB_TO_XYZ, strict=True):
        torch.mul(red, r, out=plane).add_(green, alpha=g).add_(blue, alpha=b)
    root = _cube_root(xyz, linear)
    torch.mul(root[:, 1:2], 116 / L_SCALE, out=l).sub_(16 / L_SCALE)
    torch.sub(root[:, :2], root[:, 1:], out=ab)
    ab[:, 0].mul_(500 / AB_SCALE)
    ab[:, 1].mul_(200 / AB_SCALE)


def _cube_root(xyz: Tensor, out: Tensor) -> Tensor:
    """CIE Lab's curve, a cube root above its bend, as in `_convert`; overwrites ``xyz``."""
    bend, slope = 0.008856, 7.787
    part = torch.clamp(xyz, min=bend, out=out)
    return part.log_().mul_(1 / 3).exp_().add_(xyz.clamp_(max=bend).sub_(bend), alpha=slope)


def _rgb_to_l_ab_by_planes(rgb: Tensor) -> tuple[Tensor, Tensor]:
    """`rgb_to_l_ab` with operations on single numbers alone, Kornia's formulas.

    On a GPU Kornia mixes channels by a convolution, which cuDNN rounds to TF32, and copies its constants there each
    time, which waits for all work before; torch.compile makes one kernel of this.
    """
    rgb = rgb.float()
    linear = torch.where(rgb > 0.04045, ((rgb + 0.055) / 1.055) ** 2.4, rgb / 12.92)
    r, g, b = linear.unbind(1)
    x, y, z = (of_r * r + of_g * g + of_b * b for of_r, of_g, of_b in _RGB_TO_XYZ)
    x, y, z = (torch.where(t > 0.008856, t.clamp(min=0.008856) ** (1 / 3), 7.787 * t + 4 / 29) for t in (x, y, z))
    l = (116.0 * y - 16.0)[:, None] / L_SCALE
    return l, torch.stack([500.0 * (x - y), 200.0 * (y - z)], dim=1) / AB_SCALE


def l_ab_to_rgb(l: Tensor, ab: Tensor) -> Tensor:
    """l (B, 1, H, W) in [0, 1] and ab (B, 2, H, W) -> RGB (B, 3, H, W) in [0, 1], float32.

    Colours outside the sRGB gamut are first moved inside it (`clamp_to_gamut`), so the lightness asked for is the
    lightness that comes out. The formulas are those of Kornia's ``lab_to_rgb``, with fewer passes and, on a CPU, piece
    by piece, as in `rgb_to_l_ab`.
    """
    with torch.autocast(l.device.type, enabled=False):
        l, ab = l.float(), ab.float()
        return _piecewise(lambda l, ab: _compressed(_linear_rgb(_roots(l, ab))), l, clamp_to_gamut(l, ab))


@cache
def ab_bins() -> Tensor:
    """The colour classes of Zhang, Isola and Efros (ECCV 2016): centres (Q, 2), scaled like ab, on a grid of 10 units.

    A grid point is a class where it is the nearest one to some colour of sRGB: 261 are. (The paper counts 313, with a
    hull drawn more generously than sRGB's gamut.)
    """
    # A colour inside the RGB cube shares its (a, b) with a lighter one on the cube's surface: the faces are enough.
    ends, levels = torch.tensor([0.0, 1.0]), torch.linspace(0.0, 1.0, 86)
    faces = torch.cartesian_prod(ends, levels, levels)
    rgb = torch.cat([faces.roll(channel, dims=1) for channel in range(3)])
    ab = rgb_to_lab(rgb.T[None, :, :, None])[0, 1:, :, 0].T
    return (ab / BIN_SIZE).round().unique(dim=0) * (BIN_SIZE / AB_SCALE)


def clamp_to_gamut(l: Tensor, ab: Tensor) -> Tensor:
    """Lower the chroma of colours that sRGB cannot show; lightness and hue stay.

    Cutting R, G and B at [0, 1] instead would shift lightness by several units. Every colour that is already inside
    comes back unchanged. The largest chroma inside is found by bisection between grey and the colour given, on the
    pixels that need it alone.

    Args:
        l: (B, 1, H, W) in [0, 1].
        ab: (B, 2, H, W), any finite values.

    Returns:
        ab (B, 2, H, W), float32.
    """
    with torch.autocast(l.device.type, enabled=False):
        l, ab = l.float(), ab.float()
        outside = _piecewise(lambda l, ab: _outside_gamut(_linear_rgb(_roots(l, ab))), l, ab)  # (B, 1, H, W)
        if torch.compiler.is_exporting():  # a graph holds no choice of pixels: all of them are searched
            return torch.where(outside, _largest_inside(l, ab), ab)
        if not outside.any():
            return ab
        pixels = outside.flatten().nonzero()[:, 0]
        planes = ab.transpose(0, 1).flatten(1)  # (2, B * H * W)
        pixel_l = l.flatten()[pixels].view(1, 1, -1, 1)
        pixel_ab = planes[:, pixels].view(1, 2, -1, 1)
        clamped = planes.index_copy(1, pixels, _largest_inside(pixel_l, pixel_ab).view(2, -1))
        return clamped.view(2, len(ab), *ab.shape[2:]).transpose(0, 1)


def _largest_inside(l: Tensor, ab: Tensor) -> Tensor:
    """The largest chroma inside the gamut between grey and ab (B, 2, H, W), which lies outside."""
    grey, colour = _roots(l, torch.zeros_like(ab)), _roots(torch.full_like(l, -16 / L_SCALE), ab)
    share, step = torch.zeros_like(l), 0.5  # always inside: grey is, at least
    for _ in range(_BISECTIONS):
        outside = _outside_gamut(_linear_rgb(torch.addcmul(grey, colour, share + step)))
        share, step = share + step * ~outside, step / 2
    return share * ab


def _roots(l: Tensor, ab: Tensor) -> Tensor:
    """The cube roots of X, Y and Z (B, 3, H, W), each by the white's; linear in l + 0.16 and ab."""
    y = (l * (L_SCALE / 116)).add_(16 / 116)
    a, b = ab.split(1, dim=1)
    return torch.cat([y.add(a, alpha=AB_SCALE / 500), y, y.sub(b, alpha=AB_SCALE / 200)], dim=1)


def _linear_rgb(roots: Tensor) -> Tensor:
    """`_roots` -> linear light (B, 3, H, W), outside [0, 1] where sRGB cannot show it."""
    bend, slope = 0.2068966, 7.787
    xyz = roots.clamp(min=bend).pow(3).add_(roots.clamp(max=bend).sub_(bend), alpha=1 / slope)
    return (_XYZ_TO_RGB.to(xyz.device) @ xyz.flatten(2)).view_as(xyz)


def _compressed(linear: Tensor) -> Tensor:
    """Linear light -> sRGB, clipped to [0, 1]."""
    linear = linear.clamp(0.0, 1.0)
    bend, slope = 0.0031308, 12.92
    curve = linear.clamp(min=bend).log().mul_(1 / 2.4).exp().mul(1.055).sub_(0.055)
    return curve.add_(linear.clamp(max=bend).sub_(bend), alpha=slope).clamp(0.0, 1.0)


def _outside_gamut(linear: Tensor) -> Tensor:
    """(B, 3, H, W) -> (B, 1, H, W), bool."""
    return (linear.amin(1, keepdim=True) < _DARKEST) | (linear.amax(1, keepdim=True) > _BRIGHTEST)


def _piecewise(convert: Callable[[Tensor, Tensor], Tensor], l: Tensor, ab: Tensor) -> Tensor:
    """The same as ``convert(l, ab)``: on a CPU so many rows at a time that what lies between stays in its cache."""
    if l.device.type != "cpu" or torch.compiler.is_compiling():  # exporting counts as compiling
        return convert(l, ab)
    rows = max(1, _CACHED_PIXELS // max(1, len(l) * l.shape[3]))
    if rows >= l.shape[2]:
        return convert(l, ab)
    return torch.cat([convert(*piece) for piece in zip(l.split(rows, 2), ab.split(rows, 2), strict=True)], dim=2)
