"""A U-Net with a memory: a ConvLSTM before its head keeps the colours of a clip steady along what moves."""

from __future__ import annotations

from collections.abc import Sequence
from typing import NamedTuple

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from colorize.models.base import Network
from colorize.models.unet import UNet
from colorize.motion import estimate_motion, likeness, warp

MEMORY = 32.0  # frames that the cell is the mean of, at most, before it has learnt to hold others


class State(NamedTuple):
    """What a ConvLSTM knows of the frames so far, B clips at once: of one frame, however long the clips are.

    Attributes:
        l: (B, 1, H, W), the last frame, to see what has moved since.
        hidden, cell: (B, C, h, w), float32, at the resolution of the U-Net's last features.
        age: (B, 1, h, w), of how many frames each place knows the past.
    """

    l: Tensor
    hidden: Tensor
    cell: Tensor
    age: Tensor


class ConvLSTMCell(nn.Module):
    """Convolutional LSTM (Shi et al., NeurIPS 2015): gates by a 3x3 convolution of the input and the hidden state.

    i, f, o = sigmoid(W * [x, h]), g = tanh(W * [x, h]), c' = f c + i g, h' = o tanh(c'); with these differences:

    - No peepholes: they would fix the size of the picture.
    - One gate is the complement of the other, i = 1 - f (Greff et al., "LSTM: a search space odyssey", 2017): the cell
      is a weighted mean of what was put into it, and cannot drift in clips longer than those it was trained on.
    - log(age) is added before the sigmoid of f. With zero weights the cell is then the plain mean over the past, at
      age 0 nothing is remembered, and the convolution learns where to hold on for longer or to forget.
    - What is put in, g, is of the frame alone: where nothing changes, cell and g are the same from the first frame on.
    """

    def __init__(self, channels: int, hidden: int):
        super().__init__()
        self.gates = nn.Conv2d(channels + hidden, 2 * hidden, 3, padding=1)
        self.new = nn.Conv2d(channels, hidden, 3, padding=1)
        nn.init.dirac_(self.new.weight)  # to begin with, the input itself

    def forward(self, x: Tensor, hidden: Tensor, cell: Tensor, age: Tensor) -> tuple[Tensor, Tensor, Tensor]:
        """x (B, C, h, w) and the state -> the next hidden state, the next cell, and what the former holds that is not
        in this frame: 0 where nothing is remembered, or nothing else."""
        forget, output = self.gates(torch.cat([x, hidden.to(x.dtype)], dim=1)).float().chunk(2, dim=1)
        forget, output, new = (forget + age.log()).sigmoid(), output.sigmoid(), self.new(x).float().tanh()
        cell = new + forget * (cell - new)
        hidden = output * cell.tanh()
        return hidden, cell, hidden - output * new.tanh()


class ConvLSTM(Network):
    """l (B, 1, H, W) in [0, 1] -> ab (B, 2, H, W) in (-1, 1): `UNet`, for clips with a ConvLSTM before its head.

    Its state is moved along the optical flow of l from frame to frame, and forgotten where that leads to nothing like
    it: what was covered, and everything after a scene cut. The head sees the U-Net's features and, added, what the
    memory holds beyond the frame. A picture, a clip's first frame and what does not change in it therefore get exactly
    the U-Net's colours. The U-Net does not learn, and stays in evaluation mode: what is trained is the memory, which
    begins without any effect.

    Args:
        hidden: channels of the memory.
        widths, blocks, head: of the U-Net.
    """

    def __init__(
        self,
        hidden: int = 24,
        widths: Sequence[int] = (24, 64, 128, 256, 256),
        blocks: Sequence[int] = (0, 0, 1, 1, 1),
        head: str = "ab",
    ):
        super().__init__()
        if not isinstance(hidden, int) or hidden < 1:
            raise ValueError(f"model.hidden={hidden} must be a whole number from 1 up")
        self.picture = UNet(widths, blocks, head).requires_grad_(False)
        self.head, self.stride = self.picture.head, self.picture.stride
        channels = self.head.in_channels
        self.cell = ConvLSTMCell(channels, hidden)
        self.remembered = nn.Conv2d(hidden, channels, 1, bias=False)
        nn.init.zeros_(self.remembered.weight)
        self.train()

    def train(self, mode: bool = True) -> ConvLSTM:
        super().train(mode)
        self.picture.eval()
        return self

    def output(self, l: Tensor) -> Tensor:
        return self.picture.output(l)

    def decode(self, output: Tensor) -> Tensor:
        return self.picture.decode(output)

    def step(self, l: Tensor, state: State | None) -> tuple[Tensor, State | None]:
        """The next frames of one clip: l (B, 1, H, W) -> ab (B, 2, H, W) and the state after them.

        ``state`` None, or of another size: the clip begins here.
        """
        features = []
        # U-Net and head see all frames at once, as without a memory: a frame with none behind it is the same to the bit
        for x, frame in zip(self.picture.features(l).split(1), l.split(1), strict=True):
            x, state = self._remember(x, frame, state)
            features.append(x)
        return self.decode(self.head(torch.cat(features))), state

    def clip_output(self, l: Tensor, frames: int) -> Tensor:
        with torch.no_grad():
            pictures = self.picture.features(l)
        state, features = None, []
        for x, frame in zip(*(v.unflatten(0, (-1, frames)).unbind(1) for v in (pictures, l)), strict=True):
            x, state = self._remember(x, frame, state)
            features.append(x)
        return self.head(torch.stack(features, dim=1).flatten(0, 1))

    def _remember(self, x: Tensor, l: Tensor, state: State | None) -> tuple[Tensor, State]:
        """Features of the next frame of B clips -> the same with what is remembered, and the state after it."""
        if state is None or state.l.shape != l.shape:
            past = x.new_zeros(len(x), self.remembered.in_channels, *x.shape[-2:], dtype=torch.float32)
            hidden, cell, age = past, past, past[:, :1]
        else:
            hidden, cell, age = _moved(state, l.float())
        hidden, cell, remembered = self.cell(x, hidden, cell, age)
        x = x + self.remembered(remembered.to(x.dtype))
        return x, State(l.float().clone(), hidden, cell, (age + 1).clamp(max=MEMORY))


def _moved(state: State, l: Tensor) -> tuple[Tensor, Tensor, Tensor]:
    """Hidden state, cell and age at the places that things have moved to in frames l."""
    with torch.no_grad(), torch.autocast(l.device.type, enabled=False):
        flow, visible = estimate_motion(state.l, l)
        trust = likeness(state.l, l, flow) * visible
        size = (state.cell.shape[-2], state.cell.shape[-1])
        shrunk = l.shape[-1] / size[1]
        flow, trust = F.adaptive_avg_pool2d(flow, size) / shrunk, F.adaptive_avg_pool2d(trust, size)
        age = warp(state.age, flow) * trust
    # bicubic: bilinear would blur the memory a little more with each frame that a thing moves; it overshoots at edges
    both = warp(torch.cat([state.hidden, state.cell], dim=1), flow, "bicubic").clamp(-1.0, 1.0)
    hidden, cell = both.chunk(2, dim=1)
    return hidden * trust, cell, age
