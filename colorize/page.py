"""The page itself: what is on it, and what happens when something on it is used. Needs Gradio (extra ``app``)."""

from __future__ import annotations

import logging
from pathlib import Path
from typing import Any

import gradio as gr
from fastapi import FastAPI
from PIL import ImageColor

from colorize.hints import Hint, parse_hints
from colorize.malloc import give_freed_memory_back
from colorize.studio import Done, Studio, kinds, mark, modes, render_examples, say

log = logging.getLogger(__name__)

_TITLE = "Colorize"
_VISITS = 200  # whose state is kept: the picture and hints that a page left open still shows
_STEADY = {
    "smooth": "steady along what moves",
    "convlstm": "by the network's own memory",
    "none": "each frame by itself",
}
_SIZES = [("what suits the network", 0), *((f"{size} pixels", size) for size in (128, 192, 256, 384, 512))]
_ONE_AT_A_TIME: dict[str, Any] = {"concurrency_limit": 1, "concurrency_id": "colour"}  # it uses every core


def build(studio: Studio, max_waiting: int, max_bytes: int) -> FastAPI:
    """The page as a web application, at /."""
    theme = gr.themes.Soft(
        primary_hue="indigo", font=["system-ui", "sans-serif"], font_mono=["ui-monospace", "monospace"]
    )  # plain names: Gradio's own are fetched from elsewhere
    theme.set(**_CONTRAST)
    with gr.Blocks(title=_TITLE, analytics_enabled=False) as blocks:
        gr.Markdown(
            "# Colorize\nColour for greyscale photographs, GIFs and clips. Everything happens on the computer that "
            "runs this page; files are deleted after a while."
        )
        with gr.Accordion("Settings", open=False), gr.Row():
            strength = gr.Slider(0, 2, 1, step=0.05, label="Strength", info="of the colours: 0 is grey, 1 what suits")
            weights = gr.Dropdown(list(studio.weights), label="Weights", info="the network that colours")
            size = gr.Dropdown(_SIZES, value=0, label="Working size", info="of the network; yours stays as it is")
            temporal = gr.Dropdown(
                [(_STEADY[mode], mode) for mode in modes(studio.weights)],
                value="smooth",
                label="Colour of clips",
                info="how it is kept from flickering",
            )
        settings = [strength, weights, size, temporal]
        with gr.Tab("One file"):
            _one(studio, settings)
        with gr.Tab("Many files"):
            _many(studio, settings)
    # Gradio refuses paths that were not uploaded only once it believes that it was launched, which mounting leaves out:
    # without this line whoever sees the page could have any picture of this machine.
    blocks.has_launched = True
    # Of each visit Gradio keeps over 100 KB until so many others have come, by default 10,000.
    blocks.state_session_capacity = _VISITS
    blocks.queue(max_size=max_waiting, default_concurrency_limit=2, api_open=False)
    return gr.mount_gradio_app(
        FastAPI(title=_TITLE, openapi_url=None),
        blocks,
        path="/",
        max_file_size=max_bytes,
        footer_links=["settings"],
        enable_monitoring=False,
        ssr_mode=False,
        pwa=False,
        mcp_server=False,
        theme=theme,
        css=_CSS,
        head=_HEAD,
    )


# Gradio's own are too pale to be read: WCAG 2 asks for a contrast of 4.5 to 1.
_CONTRAST = {
    "body_text_color_subdued": "#4b5563",
    "body_text_color_subdued_dark": "#c3c8d1",
    "block_info_text_color": "#4b5563",
    "block_info_text_color_dark": "#c3c8d1",
    "block_label_text_color": "*primary_800",
    "block_title_text_color": "*primary_800",
    "button_primary_background_fill": "*primary_700",
    "button_primary_background_fill_hover": "*primary_800",
    "button_primary_background_fill_dark": "*primary_700",
    "color_accent": "*primary_700",
    "link_text_color": "*primary_700",
    "link_text_color_dark": "*primary_300",
}
_CSS = """
.gradio-container { max-width: 1200px !important; margin: 0 auto; }
.gradio-container button { overflow-wrap: anywhere; }
.dark button[role=tab][aria-selected=true], .dark .file-preview a { color: var(--primary-300); }
"""


# What Gradio's slider lacks: words for the two pictures, and arrow keys. Its handle follows a mouse, so keys play one.
_HEAD = """<meta name="description" content="Colour for greyscale photographs, GIFs and clips">
<script>
new MutationObserver(() => {
  document.querySelectorAll("#slider img").forEach((image, after) => {
    const words = after ? "The picture in colour" : "The picture as it was";
    if (image.alt !== words) image.alt = words;
  });
  const handle = document.querySelector("#slider [data-testid=slider]");
  if (!handle || handle.tabIndex === 0) return;
  handle.tabIndex = 0;
  handle.setAttribute("aria-label", "Line between before and after: arrow keys move it");
  handle.setAttribute("role", "separator");
  handle.addEventListener("keydown", (event) => {
    const step = { ArrowLeft: -20, ArrowRight: 20 }[event.key];
    if (!step) return;
    event.preventDefault();
    const box = handle.getBoundingClientRect(), x = box.x + box.width / 2, clientY = box.y + box.height / 2;
    const play = (target, type, clientX) =>
      target.dispatchEvent(new MouseEvent(type, { clientX, clientY, bubbles: true, view: window }));
    play(handle, "mousedown", x); play(window, "mousemove", x + step); play(window, "mouseup", x + step);
  });
}).observe(document.documentElement, { childList: true, subtree: true });
</script>"""


def _one(studio: Studio, settings: list[Any]) -> None:
    with gr.Row():
        with gr.Column(scale=1, min_width=300):
            upload = gr.File(label="Photograph, GIF or clip", file_types=kinds().split(), height=160)
            gr.Examples([str(path) for path in render_examples(studio.folder / "examples")], upload, label="Try one")
            again = gr.Button("Colour again", interactive=False)
        with gr.Column(scale=2, min_width=320):
            slider = gr.ImageSlider(
                label="Before and after: drag the line",
                type="filepath",
                interactive=False,
                elem_id="slider",
                show_label=False,
            )
            with gr.Row(visible=False) as moving:
                before_moving = gr.Image(
                    label="Before", type="filepath", interactive=False, alt_text="The clip in grey"
                )
                after_moving = gr.Image(
                    label="After", type="filepath", interactive=False, alt_text="The clip in colour"
                )
            with gr.Row(visible=False) as playing:
                before_playing = gr.Video(label="Before", interactive=False)
                after_playing = gr.Video(label="After", interactive=False)
            download = gr.DownloadButton("Download", variant="primary", interactive=False, elem_id="download")
            said = gr.Markdown(visible=False)
    with gr.Accordion("Colours of your own", open=True, visible=False) as hinting:
        gr.Markdown("Pick a colour, then click where it belongs: the region around follows. Lightness stays.")
        with gr.Row():
            with gr.Column(scale=1, min_width=300):
                picker = gr.ColorPicker(value="#b06a30", label="Colour")
                places = gr.Textbox(
                    label="Places",
                    lines=4,
                    info="x,y,colour, one a line, in pixels from the top left",
                    elem_id="places",
                )
                with gr.Row():
                    undo = gr.Button("Undo", min_width=120)
                    use = gr.Button("Apply", variant="primary", min_width=120)
            with gr.Column(scale=2, min_width=320):
                board = gr.Image(
                    label="Click where the colour belongs",
                    show_label=False,
                    interactive=False,
                    buttons=[],
                    format="jpeg",
                    elem_id="board",
                    alt_text="The picture in colour, with a dot at each place",
                )
    state = gr.State(None)  # (width, height) of the picture
    shown = [slider, moving, before_moving, after_moving, playing, before_playing, after_playing]
    shown += [download, said, hinting, board, state, again]

    def colour(
        file: str | None,
        places: str,
        strength: float,
        weights: str,
        size: int,
        temporal: str,
        progress: gr.Progress = gr.Progress(),  # noqa: B008 (how Gradio finds it)
    ) -> list[Any]:
        if file is None:
            return _empty()
        source = Path(file)
        try:
            hints = parse_hints((places or "").split())
            colorizer = studio.colorizer(weights, strength, size or None)
            done = studio.colour(
                source,
                colorizer,
                temporal=temporal,
                hints=hints,
                progress=lambda share, what: progress(share, desc=what),
            )
        except Exception as error:
            raise _error(error, source) from error
        finally:
            give_freed_memory_back()
        return _shown(done, hints)

    def clicked(places: str, color: str, size: tuple[int, int], board: Any, event: gr.SelectData) -> str:
        x, y = event.index
        height, width = board.shape[:2]
        x, y = int(x * size[0] / width), int(y * size[1] / height)
        return "\n".join([*(places or "").split(), f"{x},{y},{_hex(color)}"])

    def arrived(
        file: str | None,
        strength: float,
        weights: str,
        size: int,
        temporal: str,
        progress: gr.Progress = gr.Progress(),  # noqa: B008
    ) -> list[Any]:
        """The places of the last file are not those of a new one."""
        return ["", *colour(file, "", strength, weights, size, temporal, progress)]

    upload.change(arrived, [upload, *settings], [places, *shown], api_visibility="private", **_ONE_AT_A_TIME)
    inputs = [upload, places, *settings]
    for trigger in (again.click, use.click):
        trigger(colour, inputs, shown, api_visibility="private", **_ONE_AT_A_TIME)
    board.select(clicked, [places, picker, state, board], places, api_visibility="private").success(
        colour, inputs, shown, api_visibility="private", **_ONE_AT_A_TIME
    )
    undo.click(lambda places: "\n".join((places or "").split()[:-1]), places, places, api_visibility="private").success(
        colour, inputs, shown, api_visibility="private", **_ONE_AT_A_TIME
    )


def _shown(done: Done, hints: list[Hint]) -> list[Any]:
    """Values of everything that shows a result, in the order of ``shown``."""
    picture, moving, playing = (done.kind == kind for kind in ("picture", "animation", "video"))
    before, after = str(done.before), str(done.after)
    lost = f"Part of the file could not be read: {done.lost}. What could be is coloured."
    return [
        gr.ImageSlider(value=(before, after) if picture else None, visible=picture),
        gr.Row(visible=moving),
        before if moving else None,
        after if moving else None,
        gr.Row(visible=playing),
        before if playing else None,
        after if playing else None,
        gr.DownloadButton(value=str(done.path), interactive=True),
        gr.Markdown(lost if done.lost else "", visible=bool(done.lost)),
        gr.Accordion(visible=picture),
        mark(done.after, hints, done.size) if picture else None,
        done.size,
        gr.Button(interactive=True),
    ]


def _empty() -> list[Any]:
    """`_shown` of nothing."""
    return [
        gr.ImageSlider(value=None, visible=True),
        *(gr.Row(visible=False), None, None, gr.Row(visible=False), None, None),
        gr.DownloadButton("Download", value=None, interactive=False),
        gr.Markdown(visible=False),
        *(gr.Accordion(visible=False), None, None),
        gr.Button(interactive=False),
    ]


def _many(studio: Studio, settings: list[Any]) -> None:
    with gr.Row():
        with gr.Column(min_width=300):
            uploads = gr.File(
                label="Photographs, GIFs and clips", file_count="multiple", file_types=kinds().split(), height=220
            )
            start = gr.Button("Colour them all", variant="primary")
        with gr.Column(min_width=300):
            archive = gr.File(label="All in one zip", interactive=False)
            said = gr.Markdown()

    def colour_all(
        files: list[str] | None,
        strength: float,
        weights: str,
        size: int,
        temporal: str,
        progress: gr.Progress = gr.Progress(),  # noqa: B008
    ) -> tuple[str, str]:
        if not files:
            raise gr.Error("Drop some files first.", print_exception=False)
        try:
            colorizer = studio.colorizer(weights, strength, size or None)
            path, failed = studio.colour_all(
                [Path(file) for file in files], colorizer, temporal, lambda share, what: progress(share, desc=what)
            )
        except Exception as error:
            raise _error(error, Path(files[0])) from error
        finally:
            give_freed_memory_back()
        lines = [f"{len(files) - len(failed)} of {len(files)} are in the zip.", *(f"- {line}" for line in failed)]
        return str(path), "\n".join(lines)

    start.click(colour_all, [uploads, *settings], [archive, said], api_visibility="private", **_ONE_AT_A_TIME)


def _error(error: Exception, source: Path) -> gr.Error:
    line = say(error, source)
    log.warning("%s", line, exc_info=error if "the terminal says more" in line else None)
    return gr.Error(line, duration=None, print_exception=False)


def _hex(color: str) -> str:
    """Gradio's picker gives #rrggbb, or rgba(12.5, 4, 6, 1) once it has been used."""
    if color.startswith("rgb"):
        numbers = color[color.index("(") + 1 : color.rindex(")")].split(",")[:3]
        return "#" + bytes(min(255, max(0, round(float(number)))) for number in numbers).hex()
    return "#" + bytes(ImageColor.getrgb(color)[:3]).hex()
