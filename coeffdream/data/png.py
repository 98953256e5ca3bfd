"""The chunks of a PNG that make its pixels: tools write megabytes beside them that Pillow takes for an attack.

ComfyUI and Blender store whole workflows as text, scanners large colour profiles; and a comment whose
checksum is wrong, which every viewer passes over, makes Pillow refuse the picture.
https://www.w3.org/TR/png-3/#5Chunk-layout
"""

from __future__ import annotations

import io
import zlib

SIGNATURE = b"\x89PNG\r\n\x1a\n"
PROFILE_LIMIT = 32 << 20  # bytes of an unpacked colour profile

# Of the chunks that a decoder may leave out, those that say how the pixels look.
_OF_THE_PIXELS = frozenset({b"tRNS", b"iCCP", b"sRGB", b"gAMA", b"cHRM", b"eXIf"})


def pixels_only(data: bytes) -> io.BytesIO:
    """The same picture without text, animation, private chunks, and what is broken beside the pixels.

    A file that is cut short stays so, for the decoder to say.
    """
    view = memoryview(data)
    kept = [view[: len(SIGNATURE)]]
    at = len(SIGNATURE)
    while at < len(data):
        length = int.from_bytes(view[at : at + 4], "big")
        kind, end = bytes(view[at + 4 : at + 8]), at + 12 + length
        may_be_left_out = bool(kind[:1]) and bool(kind[0] & 0x20)
        if not may_be_left_out or (kind in _OF_THE_PIXELS and _sound(kind, view[at:end])):
            kept.append(view[at:end])
        at = end
    return io.BytesIO(b"".join(kept))


def _sound(kind: bytes, chunk: memoryview) -> bool:
    content, checksum = chunk[8:-4], int.from_bytes(chunk[-4:], "big")
    if zlib.crc32(chunk[4:-4]) != checksum:
        return False
    if kind != b"iCCP":
        return True
    packed = bytes(content).partition(b"\0")[2][1:]  # name, NUL, method, profile
    unpacking = zlib.decompressobj()
    try:
        profile = unpacking.decompress(packed, PROFILE_LIMIT)
    except zlib.error:
        return False
    return bool(profile) and not unpacking.unconsumed_tail
