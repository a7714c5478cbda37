"""What a network has learned and where it looked, as PNGs."""

from __future__ import annotations

import math
import os
from collections.abc import Mapping, Sequence
from textwrap import fill

import numpy as np

from cnn_app.analysis.field import SHARES, Field
from cnn_app.errors import printable
from cnn_app.tasks.drawing import picture, save

CELL = 2.3  # inches of an image's width
BRIGHTEST = 99.5  # percentile of a heat that is drawn as 1
FILTERS, MAPS = 96, 48  # that are drawn at most
COLUMNS = 12  # of filters and maps
TILE, GAP = 48, 2  # pixels of an image in a block of nine, and between them
BLOCKS = ("images", "deconvnet", "guided")  # of each channel


def draw_heats(image: np.ndarray, heats: Mapping[str, np.ndarray], title: str, path: str | os.PathLike[str]) -> None:
    """An image uint8 (h, w, 1 or 3), and over it what each pixel counts (h, w), by method."""
    from matplotlib.figure import Figure

    tall = min(2.5, max(0.4, image.shape[0] / image.shape[1]))
    columns = min(5, len(heats) + 1)
    lines = -(-(len(heats) + 1) // columns)
    figure = Figure((CELL * columns + 0.9, (CELL * tall + 0.3) * lines + 0.6), layout="constrained")
    figure.suptitle(fill(printable(title), 22 * columns), fontsize=10, parse_math=False)
    grid = figure.subplots(lines, columns, squeeze=False)
    for axes in grid.flat:
        axes.set_axis_off()
    grey = np.repeat(image.mean(-1, keepdims=True).astype(np.uint8), 3, -1)
    first, *others = grid.flat
    first.set_axis_on()
    picture(first, image)
    first.set_title("image", fontsize=9)
    for axes, (name, heat) in zip(others, heats.items(), strict=False):
        axes.set_axis_on()
        picture(axes, grey)
        drawn = axes.imshow(scaled(heat), cmap="inferno", alpha=0.65, vmin=0, vmax=1)
        axes.set_title(name, fontsize=9)
    figure.colorbar(drawn, ax=grid, shrink=0.8, label="share of the largest")
    save(figure, path, dpi=110)


def scaled(heat: np.ndarray) -> np.ndarray:
    """In [0, 1]; few pixels of gradients outshine all others."""
    return np.clip(heat / max(float(np.percentile(heat, BRIGHTEST)), 1e-30), 0, 1)


def draw_filters(kernel: np.ndarray, title: str, path: str | os.PathLike[str]) -> None:
    """A kernel (kh, kw, channels, filters): in colour where it sees three channels, else the mean of channels."""
    shown = kernel if kernel.shape[2] == 3 else kernel.mean(2, keepdims=True)
    tiles = [shown[..., number] for number in range(min(FILTERS, kernel.shape[-1]))]
    reach = [max(float(np.abs(tile).max()), 1e-12) for tile in tiles]
    _draw_tiles([128 + 127 * tile / most for tile, most in zip(tiles, reach, strict=True)], None, title, path)


def draw_maps(maps: np.ndarray, title: str, path: str | os.PathLike[str]) -> None:
    """Of maps (h, w, channels) those with the largest mean, each from its least to its largest value."""
    order = np.argsort(-np.abs(maps).mean((0, 1)), kind="stable")[:MAPS]
    tiles = []
    for channel in order:
        tile = maps[..., channel, None]
        tiles.append(255 * (tile - tile.min()) / max(float(np.ptp(tile)), 1e-12))
    _draw_tiles(tiles, [str(channel) for channel in order], title, path)


def draw_field(image: np.ndarray, found: Field, title: str, path: str | os.PathLike[str]) -> None:
    """An image uint8 (h, w, 1 or 3), what is seen of it, and the squares that have shares of that."""
    from matplotlib.figure import Figure
    from matplotlib.patches import Rectangle

    figure = Figure((8.6, 5), layout="constrained")
    figure.suptitle(fill(printable(title), 90), fontsize=10, parse_math=False)
    axes = figure.subplots(1, 2)
    grey = np.repeat(image.mean(-1, keepdims=True).astype(np.uint8), 3, -1)
    for one, shown in zip(axes, (image, grey), strict=True):
        picture(one, shown)
        one.set(xlim=(-0.5, image.shape[1] - 0.5), ylim=(image.shape[0] - 0.5, -0.5))
    axes[1].imshow(scaled(found.shares), cmap="inferno", alpha=0.7, vmin=0, vmax=1)
    (first, last), (left, right) = found.rows, found.columns
    squares = [(left, first, right - left + 1, last - first + 1, "closed form", "#56B4E9", "-")]
    for share, colour, style in zip(SHARES, ("#009E73", "#E69F00"), ("-", "--"), strict=True):
        top, start, side = found.square(share)
        squares.append((start, top, side, side, f"{share:.0%} of it", colour, style))
    for x, y, wide, high, name, colour, style in squares:
        told = f"{name}: {high}x{wide} pixels"
        for number, one in enumerate(axes):
            one.add_patch(Rectangle((x - 0.5, y - 0.5), wide, high, fill=False, edgecolor=colour, linewidth=2,
                                    linestyle=style, label=told if number == 0 else None))  # fmt: skip
    figure.legend(loc="outside lower center", ncols=3, fontsize=9)
    save(figure, path, dpi=110)


def draw_strongest(
    channels: Mapping[str, Sequence[Sequence[np.ndarray]]], title: str, path: str | os.PathLike[str]
) -> None:
    """By a channel's name the nine images uint8 (h, w, 1 or 3), and those of each of the other `BLOCKS`."""
    from matplotlib.figure import Figure

    across = min(2, len(channels))
    lines = math.ceil(len(channels) / across)
    figure = Figure((1.75 * len(BLOCKS) * across, 1.95 * lines + 0.7), layout="constrained")
    figure.suptitle(fill(printable(title), 42 * across), fontsize=10, parse_math=False)
    grid = figure.subplots(lines, across * len(BLOCKS), squeeze=False)
    for axes in grid.flat:
        axes.set_axis_off()
    cells = iter(grid.flat)
    for name, blocks in channels.items():
        for block, tiles in zip(BLOCKS, blocks, strict=True):
            axes = next(cells)
            axes.imshow(_mosaic(tiles))
            axes.set_title(f"channel {name}: {block}" if block == BLOCKS[0] else block, fontsize=8, pad=3)
    save(figure, path, dpi=130)


def _mosaic(tiles: Sequence[np.ndarray]) -> np.ndarray:
    """At most nine images as three rows of three, each as large as can be in a white square."""
    from PIL import Image

    side = 3 * TILE + 2 * GAP
    whole = np.full((side, side, 3), 255, np.uint8)
    for place, tile in enumerate(tiles):
        high, wide = (max(1, round(length * TILE / max(tile.shape[:2]))) for length in tile.shape[:2])
        pixels = Image.fromarray(np.broadcast_to(tile, (*tile.shape[:2], 3)).copy())
        top, left = ((TILE + GAP) * at + (TILE - length) // 2 for at, length in zip(divmod(place, 3), (high, wide),
                                                                                    strict=True))  # fmt: skip
        whole[top : top + high, left : left + wide] = np.asarray(pixels.resize((wide, high)))
    return whole


def signed(values: np.ndarray) -> np.ndarray:
    """Around 0 as uint8 around grey; the 99.5th percentile of what they reach is black and white."""
    most = max(float(np.percentile(np.abs(values), BRIGHTEST)), 1e-30)
    return np.clip(np.round(127.5 + 127.5 * values / most), 0, 255).astype(np.uint8)


def draw_images(images: Sequence[np.ndarray], names: Sequence[str], title: str, path: str | os.PathLike[str]) -> None:
    """Images uint8 (h, w, 1 or 3), each under its name."""
    from matplotlib.figure import Figure

    columns = min(4, len(images))
    lines = math.ceil(len(images) / columns)
    size = max(4.5, CELL * columns), (CELL + 0.3) * lines + 0.6
    figure = Figure(size, layout="constrained")
    figure.suptitle(fill(printable(title), int(size[0] * 12)), fontsize=10, parse_math=False)
    grid = figure.subplots(lines, columns, squeeze=False)
    for axes in grid.flat:
        axes.set_axis_off()
    for axes, image, name in zip(grid.flat, images, names, strict=False):
        axes.set_axis_on()
        picture(axes, image)
        axes.set_title(printable(name), fontsize=9, parse_math=False)
    save(figure, path, dpi=110)


def _draw_tiles(tiles: Sequence[np.ndarray], names: Sequence[str] | None, title: str, path) -> None:
    from matplotlib.figure import Figure

    columns = min(COLUMNS, len(tiles))
    lines = math.ceil(len(tiles) / columns)
    size = max(4.5, 0.8 * columns), 0.8 * lines * (1.2 if names else 1) + 0.7
    figure = Figure(size, layout="constrained")
    figure.suptitle(fill(printable(title), int(size[0] * 12)), fontsize=10, parse_math=False)
    for place, axes in enumerate(figure.subplots(lines, columns, squeeze=False).flat):
        if place >= len(tiles):
            axes.set_axis_off()
            continue
        picture(axes, np.clip(tiles[place], 0, 255).astype(np.uint8))
        if names:
            axes.set_title(names[place], fontsize=6, pad=2)
    save(figure, path, dpi=140)
