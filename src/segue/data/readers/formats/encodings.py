"""Encodings of text files: detection of byte order marks, UTF-8 and GB18030, and a copy of other text as UTF-8."""

import codecs
import tempfile
import zlib
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from segue.data.readers.formats.raw_table import open_bytes

UTF8 = "utf-8"
_BLOCK_BYTES = 1 << 20
_MARKS = (
    (codecs.BOM_UTF32_LE, "utf-32"),
    (codecs.BOM_UTF32_BE, "utf-32"),
    (codecs.BOM_UTF8, UTF8),
    (codecs.BOM_UTF16_LE, "utf-16"),
    (codecs.BOM_UTF16_BE, "utf-16"),
)
_MIN_COMMON = 0.6
"""Least share of common Chinese characters among the non-ASCII characters of a text in GB18030."""
_BROWSE = int.from_bytes("浏".encode("gb18030"), "big")
"""Character of 浏览, the word of most events of a shop. It alone of them is of the second level of GB2312, whose codes
are also those of Cyrillic, Polish and Thai words in their encodings."""


def check_encoding(encoding: str) -> None:
    """Raise ValueError if Python has no text encoding of that name ("auto" is one)."""
    try:
        known = encoding == "auto" or codecs.lookup(encoding)._is_text_encoding
    except LookupError:
        known = False
    if not known:
        raise ValueError(
            f"There is no encoding '{encoding}': write for example utf-8, gb18030, big5, latin-1 or utf-16."
        )


def detect_encoding(path: Path) -> str:
    """Return the encoding of a text file: that of its byte order mark, else UTF-8 or GB18030.

    GB18030 (which contains GBK and GB2312) is returned only for a file that is not UTF-8 and whose characters in it are
    common Chinese ones. Others, such as Latin-1, look like damaged UTF-8 and must be named.
    """
    with open_bytes(path) as file:
        start = file.read(4)
        for mark, encoding in _MARKS:
            if start.startswith(mark):
                return encoding
        file.seek(0)
        decoder = codecs.getincrementaldecoder(UTF8)()
        while block := file.read(_BLOCK_BYTES):
            try:
                decoder.decode(block)
            except UnicodeDecodeError:
                return "gb18030" if _is_chinese(block) else UTF8
    return UTF8


def _is_chinese(block: bytes) -> bool:
    """Return whether bytes that are not UTF-8 are mostly common Chinese characters in GB18030.

    Its symbols, such as the sign of the yuan and full-width digits, do not count.
    """
    text = block.decode("gb18030", errors="replace")
    codes = [int.from_bytes(c.encode("gb18030"), "big") for c in text if not c.isascii()]
    characters = [code for code in codes if not 0xA1A1 <= code <= 0xA9FE]
    valid_utf8 = sum(not c.isascii() for c in block.decode(UTF8, errors="ignore"))
    common = sum(0xB0A1 <= code <= 0xD7F9 or code == _BROWSE for code in characters)
    return 0 < common >= _MIN_COMMON * len(characters) and 2 * common > valid_utf8


@contextmanager
def as_utf8(path: Path, encoding: str) -> Iterator[tuple[Path, list[str]]]:
    """Give the path of the text in UTF-8: the file itself, or a temporary copy of a file in another encoding.

    Bytes that are invalid in the encoding are invalid in the copy too, so that the readers reject their rows.

    Args:
        path: the file.
        encoding: name of a Python text encoding; "auto": see ``detect_encoding``.

    Yields:
        The path to read, and a sentence about a detected encoding other than UTF-8.
    """
    detected = detect_encoding(path) if encoding == "auto" else codecs.lookup(encoding).name
    if detected in (UTF8, "utf-8-sig", "ascii"):
        yield path, []
        return
    notes = [f"{path.name} is read as {detected}, detected from its bytes."] if encoding == "auto" else []
    with tempfile.TemporaryDirectory(prefix="segue-") as folder:
        copy = Path(folder) / path.name.removesuffix(".gz").removesuffix(".GZ")
        with open_bytes(path) as file, copy.open("wb") as target:
            decoder = codecs.getincrementaldecoder(detected)(errors="surrogateescape")
            while block := file.read(_BLOCK_BYTES):
                target.write(decoder.decode(block).encode(UTF8, "surrogateescape"))
            target.write(decoder.decode(b"", final=True).encode(UTF8, "surrogateescape"))
        yield copy, notes


def is_utf8_instead(path: Path, encoding: str) -> bool:
    """Return whether a text is certainly UTF-8, or has a byte order mark, and is not in another named encoding.

    In a double-byte encoding such as GBK a few characters may be valid UTF-8 by chance, but then of two bytes only.

    Args:
        path: the file.
        encoding: the named encoding.
    """
    if codecs.lookup(encoding).name in (UTF8, "utf-8-sig"):
        return False
    decoder = codecs.getincrementaldecoder(UTF8)()
    try:
        is_single_byte = len(bytes(range(128, 256)).decode(encoding, errors="replace")) == 128
        found = b"a,1\n".decode(encoding, errors="replace") != "a,1\n"  # as in UTF-16, ASCII is no text of it
        with open_bytes(path) as file:
            start = file.read(4)
            if any(start.startswith(mark) for mark, _ in _MARKS):
                return True
            file.seek(0)
            while block := file.read(_BLOCK_BYTES):
                text = decoder.decode(block)
                if "\x00" in text:
                    return False
                found = found or (not text.isascii() and (is_single_byte or max(text) >= "\u0800"))
        decoder.decode(b"", final=True)
    except (UnicodeError, OSError, EOFError, zlib.error):  # a damaged file: the reader of its format states it
        return False
    return found
