"""The model card that goes with a network when it is shared: what a person should know, from what its file knows."""

from __future__ import annotations

import colorize
from colorize.checkpoint import Checkpoint


def model_card(checkpoint: Checkpoint) -> str:
    """Markdown with the Hub's head in YAML. It says nothing of licences: those are of the photographs it learnt."""
    data, model = checkpoint.data, checkpoint.settings["model"]
    parameters = sum(p.numel() for p in checkpoint.model.parameters())
    pictures = "rendered scenes, not photographs" if data["rendered"] else "photographs"
    settings = ", ".join(f"{key}={value}" for key, value in model.items() if key != "name")
    return f"""---
library_name: colorize
pipeline_tag: image-to-image
tags:
- colorization
- image-to-image
- {model["name"]}
---

# {checkpoint.name}, trained on {data["name"]}

Colours greyscale photographs: a network of {parameters:,} parameters that turns lightness into CIE Lab's a and b.

```python
from colorize import Colorizer

colorizer = Colorizer.from_pretrained("OWNER/NAME")  # or the folder of this file
colorizer("photo.jpg").save("photo_color.png")
```

| | |
|---|---|
| network | {checkpoint.name} ({settings or "no settings"}) |
| trained on | {data["name"]}: {pictures} |
| size | {data["size"]} x {data["size"]} pixels; pictures of every size are coloured at their own |
| training | {checkpoint.epoch + 1} epochs, {checkpoint.steps} steps |
| saturation | {data.get("saturation", 1.0):.3g} times the colours that the network predicts |
| weights | half precision, made with colorize {colorize.__version__} |

## Limits

It guesses: where a thing could have several colours, the true one is unknown, and what its training pictures did not
show it colours badly or hardly at all. Do not take its colours for evidence of what something looked like.
"""
