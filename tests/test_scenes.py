"""The rendered scenes: same seed same bytes, believable colours, a seamless wave loop, whole sets or none."""

import colorsys
import hashlib
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from colorize.data import scenes
from colorize.data.scenes import COUNTS, MARKER, render, render_set, render_waves
from colorize.data.scenes import sets as sets_module

KINDS = list(COUNTS)
SIZE = 96
SEEDS = range(6)


@pytest.fixture(scope="module")
def gallery() -> dict[str, np.ndarray]:
    """A few pictures of every kind, (len(SEEDS), SIZE, SIZE, 3) each."""
    return {kind: np.stack([render(kind, seed, SIZE) for seed in SEEDS]) for kind in KINDS}


def hue_and_saturation(pictures: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Hue in degrees and HSV saturation in 0..1, of uint8 (..., 3)."""
    hsv = np.asarray(Image.fromarray(pictures.reshape(-1, pictures.shape[-2], 3)).convert("HSV"), float)
    return (hsv[..., 0] * 360 / 255).reshape(pictures.shape[:-1]), (hsv[..., 1] / 255).reshape(pictures.shape[:-1])


def share(pictures: np.ndarray, low: float, high: float, saturation: float = 0.15) -> float:
    """Share of the pixels whose hue lies in low..high degrees (wrapping at 360) and that are not grey."""
    hue, saturated = hue_and_saturation(pictures)
    within = (hue >= low) & (hue <= high) if low <= high else (hue >= low) | (hue <= high)
    return float((within & (saturated > saturation)).mean())


def test_hue_helper_agrees_with_the_standard_library() -> None:
    hue, saturation = hue_and_saturation(np.array([[[200, 40, 80]]], np.uint8))
    expected = colorsys.rgb_to_hsv(200 / 255, 40 / 255, 80 / 255)
    assert hue[0, 0] == pytest.approx(expected[0] * 360, abs=2)
    assert saturation[0, 0] == pytest.approx(expected[1], abs=0.01)


@pytest.mark.parametrize("kind", KINDS)
def test_same_seed_same_bytes_other_seed_other_picture(kind: str, gallery: dict[str, np.ndarray]) -> None:
    pictures = gallery[kind]
    assert pictures.dtype == np.uint8
    assert render(kind, 0, SIZE).tobytes() == pictures[0].tobytes()
    assert len({picture.tobytes() for picture in pictures}) == len(pictures)


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("size", [64, 65])
def test_size_is_honoured(kind: str, size: int) -> None:
    assert render(kind, 3, size).shape == (size, size, 3)


def test_the_default_size_is_256() -> None:
    assert render("balenes", 0).shape == (256, 256, 3)


def test_an_unknown_kind_lists_the_kinds(tmp_path: Path) -> None:
    for call in (lambda: render("gats", 0), lambda: render_set("gats", tmp_path / "gats")):
        with pytest.raises(ValueError) as caught:
            call()
        assert all(kind in str(caught.value) for kind in [*KINDS, "gats"])


def test_a_size_too_small_is_refused() -> None:
    with pytest.raises(ValueError, match="16"):
        render("beach", 0, 8)


@pytest.mark.parametrize("kind", KINDS)
def test_pictures_have_light_and_shade_and_are_not_garish(kind: str, gallery: dict[str, np.ndarray]) -> None:
    grey = gallery[kind].mean(axis=3)
    assert (grey.reshape(len(grey), -1).std(axis=1) > 8).all()
    assert (grey.reshape(len(grey), -1).mean(axis=1) > 40).all()
    assert (grey.reshape(len(grey), -1).mean(axis=1) < 225).all()
    clipped = (gallery[kind] == 255).all(axis=3).mean()
    assert clipped < 0.05


@pytest.mark.parametrize("kind", KINDS)
def test_neighbouring_pixels_agree_as_in_photographs(kind: str, gallery: dict[str, np.ndarray]) -> None:
    """Natural pictures are smooth at first sight: neighbours correlate strongly, unlike noise."""
    for picture in gallery[kind].mean(axis=3):
        assert np.corrcoef(picture[:, 1:].ravel(), picture[:, :-1].ravel())[0, 1] > 0.6


def test_pradera_is_green_below(gallery: dict[str, np.ndarray]) -> None:
    assert share(gallery["pradera"][:, SIZE * 5 // 8 :], 45, 150) > 0.75


@pytest.mark.parametrize("kind", ["pradera", "rural", "beach", "paisatge", "balenes"])
def test_skies_are_blue_grey_or_warm_never_green(kind: str, gallery: dict[str, np.ndarray]) -> None:
    assert share(gallery[kind][:, : SIZE // 12], 80, 165) < 0.15


def test_bananas_are_yellow_or_green_and_brown_tipped(gallery: dict[str, np.ndarray]) -> None:
    assert share(gallery["banana"], 35, 110, 0.3) > 0.1


def test_strawberries_are_red_among_green(gallery: dict[str, np.ndarray]) -> None:
    for picture in gallery["maduixes"]:
        assert share(picture, 340, 15, 0.5) > 0.02
    assert share(gallery["maduixes"], 60, 160) > 0.2


def test_whales_swim_in_blue_to_green_seas(gallery: dict[str, np.ndarray]) -> None:
    noon = [picture for picture in gallery["balenes"] if share(picture[: SIZE // 12], 180, 260, 0.1) > 0.5]
    assert all(share(picture[SIZE // 2 :], 160, 260, 0.1) > 0.5 for picture in noon)


def test_beaches_have_sand_below_warmer_than_their_sky(gallery: dict[str, np.ndarray]) -> None:
    warmth = gallery["beach"][..., 0].astype(float) - gallery["beach"][..., 2]
    assert warmth[:, -SIZE // 8 :].mean() > warmth[:, : SIZE // 8].mean()


def test_waves_loop_and_move() -> None:
    film = render_waves(12, (96, 54), seed=1)
    assert film.shape == (12, 54, 96, 3) and film.dtype == np.uint8
    moving = film.astype(float)
    steps = np.array([np.abs(moving[k] - moving[(k + 1) % 12]).mean() for k in range(12)])
    assert steps.min() > 0
    assert steps[-1] < 1.5 * np.median(steps)  # the seam is no jump
    assert steps.max() < 0.5 * moving.std()
    assert np.array_equal(film, render_waves(12, (96, 54), seed=1))


def test_waves_refuse_no_frames() -> None:
    with pytest.raises(ValueError):
        render_waves(0)


def digests(folder: Path) -> dict[str, str]:
    return {
        str(p.relative_to(folder)): hashlib.sha256(p.read_bytes()).hexdigest() for p in folder.rglob("*") if p.is_file()
    }


def test_a_set_has_its_layout_marker_and_no_shared_pictures(tmp_path: Path) -> None:
    folder = tmp_path / "data" / "banana"
    render_set("banana", folder, size=48, counts=(3, 2))
    files = digests(folder)
    expected = {"train/0000.jpg", "train/0001.jpg", "train/0002.jpg", "test/0000.jpg", "test/0001.jpg", MARKER}
    assert set(files) == expected
    assert len(set(files.values())) == len(files)
    note = (folder / MARKER).read_text()
    assert MARKER == "RENDERED.txt" and "not photographs" in note and "seed 0" in note
    with Image.open(folder / "train" / "0000.jpg") as picture:
        assert picture.size == (48, 48) and picture.format == "JPEG"
    assert [path.name for path in folder.parent.iterdir()] == ["banana"]  # no draft is left


def test_sets_of_one_seed_agree_and_of_two_seeds_do_not(tmp_path: Path) -> None:
    for name, seed in (("a", 1), ("b", 1), ("c", 2)):
        render_set("balenes", tmp_path / name, seed=seed, size=32, counts=(2, 1))
    assert digests(tmp_path / "a") == digests(tmp_path / "b")
    assert not set(digests(tmp_path / "a").values()) & set(digests(tmp_path / "c").values())


def test_the_counts_are_those_of_the_data_sets(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(sets_module, "_write_picture", lambda job: job[3].touch())
    for kind, (train, test) in COUNTS.items():
        render_set(kind, tmp_path / kind)
        assert len(list((tmp_path / kind / "train").iterdir())) == train
        assert len(list((tmp_path / kind / "test").iterdir())) == test


@pytest.mark.parametrize("placeholder", [None, ".gitkeep", "README.md", "train/.gitkeep"])
def test_an_empty_folder_is_replaced(tmp_path: Path, placeholder: str | None) -> None:
    folder = tmp_path / "beach"
    (folder / "train").mkdir(parents=True)
    if placeholder:
        (folder / placeholder).touch()
    render_set("beach", folder, size=32, counts=(1, 1))
    assert set(digests(folder)) == {"train/0000.jpg", "test/0000.jpg", MARKER}


def test_photographs_are_never_overwritten(tmp_path: Path) -> None:
    folder = tmp_path / "beach"
    folder.mkdir()
    (folder / "mine.jpg").write_bytes(b"photograph")
    with pytest.raises(FileExistsError):
        render_set("beach", folder, size=32, counts=(1, 1))
    assert [path.name for path in tmp_path.rglob("*")] == ["beach", "mine.jpg"]


def test_a_rendered_folder_is_kept(tmp_path: Path) -> None:
    render_set("beach", tmp_path / "beach", size=32, counts=(1, 1))
    before = digests(tmp_path / "beach")
    render_set("beach", tmp_path / "beach", seed=9, size=32, counts=(2, 2))
    assert digests(tmp_path / "beach") == before


@pytest.mark.parametrize("accident", [KeyboardInterrupt, RuntimeError])
def test_an_interruption_leaves_nothing(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, accident: type[BaseException]
) -> None:
    def fail(kind: str, seed: int, size: int) -> np.ndarray:
        if seed == 2:
            raise accident
        return scenes.render(kind, seed, size)

    monkeypatch.setattr(sets_module, "render", fail)
    with pytest.raises(accident):
        render_set("banana", tmp_path / "banana", size=32, counts=(4, 1))
    assert list(tmp_path.iterdir()) == []


def test_two_at_once_both_end_well(tmp_path: Path) -> None:
    with ThreadPoolExecutor(2) as pool:
        runs = [
            pool.submit(render_set, "banana", tmp_path / "banana", seed=seed, size=32, counts=(3, 1)) for seed in (1, 2)
        ]
        for run in runs:
            run.result()
    assert [path.name for path in tmp_path.iterdir()] == ["banana"]
    assert len(list((tmp_path / "banana" / "train").iterdir())) == 3


def test_losing_the_race_keeps_the_winners_folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """The rival finishes while ours is still rendering."""

    def rival_wins(jobs: list, kind: str) -> None:
        (tmp_path / "banana" / "train").mkdir(parents=True)
        (tmp_path / "banana" / "train" / "theirs.jpg").touch()

    monkeypatch.setattr(sets_module, "_write_pictures", rival_wins)
    render_set("banana", tmp_path / "banana", counts=(1, 1))
    assert [path.name for path in tmp_path.rglob("*.*")] == ["theirs.jpg"]
