"""Output in Chinese: every head of a table, line of a profile and sentence of the main commands has both languages."""

import ast
import re
from collections.abc import Iterator
from pathlib import Path

import polars as pl
import pytest
from tests.support.cli import run
from tests.support.shop_pipelines import save_pipeline

import segue
from segue.cli.chinese import SENTENCES, WORDS
from segue.cli.language import Language, translated, use_language
from segue.data.profile import profile_log

SOURCE = Path(segue.__file__).parent
ALIKE = {"", "#", "IPS", "SNIPS", "AUC", "logloss", "ECE"}
"""Heads of tables that are written alike in both languages."""
TRANSLATED = ["cli/output.py", "cli/commands/report.py", "cli/commands/recommend.py", "cli/placement_output.py"]
TRANSLATED += ["cli/commands/profile.py", "cli/commands/update.py", "data/profile.py", "data/read_report.py"]
"""Modules whose printed sentences all have a translation."""
CALLS = {"print", "append"}
HAN = re.compile("[\u4e00-\u9fff]")


@pytest.fixture(autouse=True)
def english_again() -> Iterator[None]:
    yield
    use_language(Language.en)


def text_of(node: ast.AST) -> str | None:
    """Return a text with {} for each value; None for another expression."""
    if isinstance(node, ast.Constant) and isinstance(node.value, str):
        return node.value
    if isinstance(node, ast.JoinedStr):
        return "".join(str(part.value) if isinstance(part, ast.Constant) else "{}" for part in node.values)
    if isinstance(node, ast.BinOp) and isinstance(node.op, ast.Add):
        sides = [text_of(side) if text_of(side) is not None else "{}" for side in (node.left, node.right)]
        return "".join(map(str, sides))
    return None


def plain(english: str) -> str:
    return re.sub(r"\{\d+\}", "{}", english)


def texts(paths: Iterator[Path]) -> set[str]:
    found = (text_of(node) for path in paths for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))))
    return {text.removeprefix("\n").removeprefix("- ") for text in found if text is not None}


def test_every_english_text_is_one_of_the_source() -> None:
    others = (path for path in SOURCE.rglob("*.py") if path.name != "chinese.py")
    known = texts(others)
    assert [word for word in WORDS if word not in known] == []
    missing = [sentence for sentence in SENTENCES if plain(sentence) not in known]
    assert missing == ["Ties: {0}. Cases: {1}. Trained on validation events too: {2}"], "made of two texts"
    assert "Ties: {}. Cases: {}. Trained on validation events too: " in known


def test_every_value_of_a_sentence_is_in_both_languages() -> None:
    leaves_out = "Saved to {0} (version {1}), {2}. Next: segue serve {3}"
    for english, chinese in SENTENCES.items():
        values = [set(re.findall(r"\{(\d+)(?::t)?\}", text)) for text in (english, chinese)]
        assert values[0] == values[1] or english == leaves_out, english
        assert HAN.search(chinese), chinese
    assert all(HAN.search(chinese) or "ECE" in chinese for chinese in WORDS.values())


def lists_of_heads(tree: ast.AST) -> Iterator[ast.List]:
    for node in ast.walk(tree):
        if isinstance(node, ast.Call) and isinstance(node.func, ast.Name) and node.func.id == "table":
            yield from (one for one in node.args[1:2] if isinstance(one, ast.List))
            yield from (one for one in node.args[:1] if isinstance(one, ast.List))
        targets = node.targets if isinstance(node, ast.Assign) else []
        if any(isinstance(one, ast.Name) and one.id == "heads" for one in targets):
            assert isinstance(node, ast.Assign) and isinstance(node.value, ast.List)
            yield node.value


def test_every_head_of_a_table_has_both_languages() -> None:
    heads = {
        str(head.value)
        for path in (SOURCE / "cli").rglob("*.py")
        for row in lists_of_heads(ast.parse(path.read_text(encoding="utf-8")))
        for head in row.elts
        if isinstance(head, ast.Constant)
    }
    assert len(heads) > 30
    assert heads - ALIKE <= set(WORDS)


def test_every_line_of_a_profile_has_both_languages() -> None:
    rows = {"user_id": ["a", "a", "b"], "item_id": ["x", "y", "x"], "timestamp": [1.7e9, 1.71e9, 1.72e9]}
    labels = [label for label, _ in profile_log(segue.read_events(pl.DataFrame(rows))).lines()]
    assert len(labels) == 17 and set(labels) <= set(WORDS)


@pytest.mark.parametrize("name", TRANSLATED)
def test_every_printed_sentence_has_both_languages(name: str) -> None:
    known = {plain(sentence) for sentence in SENTENCES} | set(WORDS)
    for node in ast.walk(ast.parse((SOURCE / name).read_text(encoding="utf-8"))):
        if not (isinstance(node, ast.Call) and isinstance(node.func, ast.Attribute) and node.func.attr in CALLS):
            continue
        for argument in node.args[:1]:
            text = text_of(argument)
            if text is not None and re.search("[a-z]{3,} [a-z]", text) and not isinstance(argument, ast.BinOp):
                assert text.removeprefix("\n").removeprefix("- ") in known, text


def test_a_sentence_keeps_its_values_and_its_mark() -> None:
    use_language(Language.zh)
    assert translated("WARNING: 1 % of the items take 60% of the events.") == "警告：1 % 的商品占了 60% 的事件。"
    assert translated("- 3 events repeat the user, item and time of another.").startswith("- 3 个事件")
    assert translated("There is no user 'events' in a/b.csv.") == "a/b.csv 中没有用户“events”。"
    ahead = "gru4rec is ahead of markov by 0.0100 ndcg@10 on the same cases (95 % interval -0.1 .. 0.2)"
    assert translated(f"{ahead}, which could be chance.") == (
        "在相同的样本上，gru4rec 的 ndcg@10 比 markov 高 0.0100（95 % 区间 -0.1 .. 0.2），也可能是偶然。"
    )
    assert translated("A sentence that nothing knows.") == "A sentence that nothing knows."
    use_language(Language.en)
    assert translated("- 3 events repeat the user, item and time of another.").startswith("- 3 events")


def test_tables_reasons_and_errors_of_commands_are_chinese(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    lines = [f"u{user},i{(user + step) % 5},{1_700_000_000 + step}" for user in range(9) for step in range(4)]
    (tmp_path / "log.csv").write_text("user_id,item_id,timestamp\n" + "\n".join(lines * 2), encoding="utf-8")
    done = run("profile", tmp_path / "log.csv", "--language", "zh")
    assert all(HAN.search(line) for line in done.stdout.splitlines()[1:])
    assert "用户数" in done.stdout and "个事件与另一个事件的用户、商品和时间都相同" in done.stdout
    assert "读取 72 行" in done.stderr
    shop = save_pipeline("ranks", tmp_path / "run")
    monkeypatch.setenv("SEGUE_LANGUAGE", "zh")
    arguments = ("recommend", shop, "--history", "i20,i4", "--explain", "--why-not", "i1")
    shown = run(*arguments).stdout
    assert {"商品", "标题", "理由", "得分"} <= set(shown.splitlines()[0].split())
    assert "选它" in shown and "i1: 规则不允许推荐它" in shown
    refused = run("recommend", shop, "--user", "zzz", "--log", tmp_path / "log.csv", code=2)
    assert refused.stderr.splitlines()[-1] == f"segue: {tmp_path / 'log.csv'} 中没有用户“zzz”。"
    assert run(*arguments, "--json").stdout == run(*arguments, "--json", "--language", "en").stdout
    monkeypatch.setenv("SEGUE_LANGUAGE", "en")
    assert "position" not in run(*arguments).stdout and "The rules do not allow it" in run(*arguments).stdout
    monkeypatch.delenv("SEGUE_LANGUAGE")
    assert "商品" in run("--language", "zh", *arguments).stdout and "商品" not in run(*arguments).stdout
    assert "商品" not in run("--language", "zh", *arguments, "--language", "en").stdout
    assert "'fr' is not one of" in run(*arguments, "--language", "fr", code=2).stderr
