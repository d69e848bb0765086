"""Pictures that tests draw: like photographs, of one colour, animated, damaged, lying."""

from __future__ import annotations

import base64
import io
import struct
import zlib
from typing import Any

import numpy as np
from PIL import Image, ImageDraw

RED, GREEN, BLUE, GREY = (200, 30, 30), (30, 200, 30), (30, 30, 200), (128, 128, 128)


def photo(seed: int = 1, size: tuple[int, int] = (640, 480)) -> Image.Image:
    """Clouds of every size and a few discs: it has waves of all lengths, like a photograph."""
    chance = np.random.default_rng(seed)
    total = np.zeros((size[1], size[0], 3))
    for cells in (3, 6, 12, 24, 48):
        small = Image.fromarray(chance.integers(0, 256, (cells, cells, 3), np.uint8))
        total += np.asarray(small.resize(size, Image.Resampling.BICUBIC)) / cells**0.7
    scaled = (total - total.min()) / (total.max() - total.min()) * 255
    image = Image.fromarray(scaled.astype(np.uint8))
    draw = ImageDraw.Draw(image)
    for _ in range(6):
        left, top = int(chance.integers(0, size[0])), int(chance.integers(0, size[1]))
        width = int(chance.integers(20, 200))
        colour = tuple(int(part) for part in chance.integers(0, 256, 3))
        draw.ellipse((left, top, left + width, top + width), fill=colour)
    return image


def plain(colour: tuple[int, ...] = RED, size: tuple[int, int] = (64, 48)) -> Image.Image:
    return Image.new("RGBA" if len(colour) == 4 else "RGB", size, colour)


def encoded(image: Image.Image, format: str = "JPEG", **options: Any) -> bytes:
    sink = io.BytesIO()
    image.save(sink, format, **options)
    return sink.getvalue()


def animated(*frames: Image.Image, format: str = "GIF") -> bytes:
    return encoded(frames[0], format, save_all=True, append_images=frames[1:], duration=50)


def png_header(width: int, height: int) -> bytes:
    """A PNG that promises this size, with a handful of bytes for its pixels."""
    header = struct.pack(">IIBBBBB", width, height, 8, 2, 0, 0, 0)
    chunks = ((b"IHDR", header), (b"IDAT", zlib.compress(b"\0" * 100)), (b"IEND", b""))
    return b"\x89PNG\r\n\x1a\n" + b"".join(chunk(kind, body) for kind, body in chunks)


def chunk(kind: bytes, body: bytes) -> bytes:
    return struct.pack(">I", len(body)) + kind + body + struct.pack(">I", zlib.crc32(kind + body))


def data_url(data: bytes, media_type: str = "image/png") -> str:
    return f"data:{media_type};base64,{base64.b64encode(data).decode()}"


def distance(one: bytes, other: bytes) -> int:
    """How many bits differ, counted one by one."""
    return sum((a ^ b).bit_count() for a, b in zip(one, other, strict=True))
