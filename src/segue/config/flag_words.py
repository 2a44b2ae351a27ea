"""Words of shops that stand for true and false, in English and Chinese: yes and no, 有货 and 缺货."""

from collections.abc import Iterable

_PAIRS = (
    ({"true", "t"}, {"false", "f"}),
    ({"yes", "y"}, {"no", "n"}),
    ({"on", "enabled", "active"}, {"off", "disabled", "inactive"}),
    ({"in stock", "instock", "available"}, {"out of stock", "outofstock", "sold out", "unavailable"}),
    ({"是", "真", "对"}, {"否", "假", "不是", "非"}),
    ({"有"}, {"无", "没有"}),
    (
        {"有货", "现货", "有现货", "有库存", "库存充足"},
        {"缺货", "无货", "无现货", "无库存", "没货", "售罄", "已售罄", "售完", "断货", "补货中"},
    ),
    (
        {"上架", "已上架", "在售", "销售中", "上线", "已上线"},
        {"下架", "已下架", "停售", "未上架", "下线", "已下线", "停产"},
    ),
    ({"可用", "启用", "已启用", "有效"}, {"不可用", "禁用", "停用", "已停用", "无效"}),
)
"""Words for true and words for false that occur together in a column, in lower case."""

MAX_WORDS = 20
"""Largest number of distinct texts of a column of flags."""


def flag_words(words: Iterable[str]) -> dict[bool, list[str]]:
    """Return the words of a column that mean true and those that mean false; {} if one has no such meaning.

    >>> flag_words(["有货", "缺货"])
    {True: ['有货'], False: ['缺货']}
    >>> flag_words(["red", "no"])
    {}
    """
    distinct = sorted(set(words))
    if len(distinct) > MAX_WORDS:
        return {}
    plain = {word: " ".join(word.replace("_", " ").replace("-", " ").casefold().split()) for word in distinct}
    for true, false in _PAIRS:
        if distinct and set(plain.values()) <= true | false:
            return {
                True: [word for word in distinct if plain[word] in true],
                False: [word for word in distinct if plain[word] in false],
            }
    return {}
