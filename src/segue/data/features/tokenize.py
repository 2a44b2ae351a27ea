"""Tokenizer of texts: words, and for Chinese and Japanese, which write no spaces, characters and pairs of them."""

import re
import unicodedata
from collections.abc import Iterator

_HAN = "\u3005\u3040-\u30ff\u3400-\u4dbf\u4e00-\u9fff\uf900-\ufaff\U00020000-\U0003ffff"
_RUN = re.compile(rf"[{_HAN}]+|[^\W_{_HAN}]+")


def tokenize(text: str) -> list[str]:
    """Return the distinct words in the order of the text, case-folded and NFKC-normalized.

    >>> tokenize("Green tea, GREEN cup")
    ['green', 'tea', 'cup']
    >>> tokenize("龙井茶 50g")
    ['龙', '井', '茶', '龙井', '井茶', '50g']
    """
    plain = unicodedata.normalize("NFKC", text).casefold()
    return list(dict.fromkeys(part for run in _RUN.findall(plain) for part in _parts(run)))


def _parts(run: str) -> Iterator[str]:
    if not re.match(f"[{_HAN}]", run):
        yield run
        return
    yield from run
    yield from (run[i : i + 2] for i in range(len(run) - 1))
