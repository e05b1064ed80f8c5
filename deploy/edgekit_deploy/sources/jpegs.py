"""JPEG pictures one after another, as `ffmpeg -f mjpeg` and `rpicam-vid --codec mjpeg` write them."""

from __future__ import annotations

from collections.abc import Iterable, Iterator

START, END = b"\xff\xd8\xff", b"\xff\xd9"
SCAN, END_MARKER, FILL = 0xDA, 0xD9, 0xFF
# Restarts and another start have no place before the scan.
LEAST_MARKER, WITHOUT_LENGTH = 0xC0, range(0xD0, 0xD9)
# No picture is larger; what goes on for longer without an end is something else.
MOST_BYTES = 16 * 2**20


class JpegSplitter:
    """Cuts a stream of bytes into pictures.

    Segments before the scan are stepped over by their length: a thumbnail in one of them ends with an END of its own.
    """

    def __init__(self) -> None:
        self._buffer = bytearray()

    def feed(self, chunk: bytes) -> Iterator[bytes]:
        """The pictures that are whole with these further bytes; b"" for one that is cut off or broken."""
        buffer = self._buffer
        buffer += chunk
        while True:
            start = buffer.find(START)
            if start < 0:
                del buffer[: max(0, len(buffer) - len(START) + 1)]
                return
            del buffer[:start]
            length, is_whole = _measure(buffer)
            if length == 0 and len(buffer) < MOST_BYTES:
                return
            yield bytes(buffer[:length]) if is_whole else b""
            del buffer[: max(length, len(START))]

    @property
    def is_within(self) -> bool:
        """A picture has begun and not ended."""
        return self._buffer.startswith(START)


def split_jpegs(chunks: Iterable[bytes]) -> Iterator[bytes]:
    """The pictures in a stream of bytes, each as soon as it is whole; b"" for one that is cut off or broken."""
    splitter = JpegSplitter()
    for chunk in chunks:
        yield from splitter.feed(chunk)
    if splitter.is_within:
        yield b""


def _measure(buffer: bytearray) -> tuple[int, bool]:
    """Length of the picture at the beginning of `buffer` and whether it is whole; 0 if its end has not come yet."""
    position = 2
    while position + 4 <= len(buffer):
        marker = buffer[position + 1]
        if buffer[position] != FILL or marker < LEAST_MARKER or marker in WITHOUT_LENGTH:
            # The segment before may have been cut off, and its length have led over the next picture's beginning.
            return len(START), False
        if marker == FILL:
            position += 1
        elif marker == END_MARKER:
            return position + 2, True
        elif marker == SCAN:
            end, following = buffer.find(END, position), buffer.find(START, position)
            if following >= 0 and (end < 0 or following < end):
                return following, False
            return (end + 2, True) if end >= 0 else (0, False)
        else:
            position += 2 + int.from_bytes(buffer[position + 2 : position + 4])
    return 0, False
