"""Guides: every command, Python block, TOML block and JSON block of docs/guide runs or decodes, on one small log.

A block named ``text`` is not run: it needs a terminal, a launcher or an interrupted training.
"""

import inspect
import json
import re
import shlex
import shutil
import subprocess
import textwrap
import tomllib
from collections.abc import Iterator
from pathlib import Path
from typing import NamedTuple
from urllib.request import Request, urlopen

import pytest
from tests.support.cli import run

from segue.cli.commands.quickstart import start
from segue.data.readers.log_options import read_log_config
from segue.pipeline import config

GUIDES = Path(__file__).resolve().parent.parent / "docs" / "guide"
ITEMS = ["85123A", "71053", "22423", "47566", "x", "y", "z", "84879", "22720", "21212"]


class Block(NamedTuple):
    """One fenced block of a page."""

    language: str
    text: str


def blocks(name: str, *languages: str) -> list[Block]:
    """Return the fenced blocks of a guide, in order.

    Args:
        name: name of the guide, without its suffix.
        languages: languages of the blocks; none: all.
    """
    text = (GUIDES / f"{name}.md").read_text(encoding="utf-8")
    matches = [Block(*match) for match in re.findall(r"^```(\w*)\n(.*?)^```$", text, flags=re.MULTILINE | re.DOTALL)]
    return [block for block in matches if not languages or block.language in languages]


@pytest.fixture(scope="module")
def inputs(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Folder with the files that the guides name."""
    folder = tmp_path_factory.mktemp("guides")
    rows = [
        f"u{user},{ITEMS[(user + step) % 10]},{1_700_000_000 + 600 * step + user},north"
        for user in range(60)
        for step in range(8)
    ]
    (folder / "shop.csv").write_text("\n".join(["user,item,time,region", *rows]), encoding="utf-8")
    later = [f"u{u},{ITEMS[(u + step) % 10]},{1_710_000_000 + 600 * step + u}" for u in range(40) for step in range(6)]
    (folder / "today.csv").write_text("\n".join(["user,item,time", *later]), encoding="utf-8")
    columns = "item_id,title,category,price,brand,stock"
    items = [f"{item},Cup of tea {i},{'tea' if i % 3 else 'jam'},{i + 2},B{i % 4},1" for i, item in enumerate(ITEMS)]
    (folder / "products.csv").write_text("\n".join([columns, *items]), encoding="utf-8")
    (folder / "arrivals.csv").write_text(f"{columns}\nnew,Green cup,tea,4,B1,1\n", encoding="utf-8")
    train, test = rows[: 8 * 50], rows[8 * 50 :]
    for name, part in (("train.tsv", train), ("test.tsv", test)):
        lines = ["user\titem\ttime", *("\t".join(row.split(",")[:3]) for row in part)]
        (folder / name).write_text("\n".join(lines), encoding="utf-8")
    (folder / "small.toml").write_text(
        '[[source]]\nmodel = "covisit"\n[[source]]\nmodel = "markov"\n', encoding="utf-8"
    )
    return folder


@pytest.fixture
def folder(inputs: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Path]:
    """A copy of the inputs as the working directory."""
    shutil.copytree(inputs, tmp_path, dirs_exist_ok=True)
    monkeypatch.chdir(tmp_path)
    yield tmp_path


def run_blocks(name: str) -> None:
    """Run the commands and Python blocks of a guide in its order, each command as it stands."""
    for block in blocks(name, "sh", "python"):
        if block.language == "python":
            exec(compile(block.text, f"{name}.md", "exec"), {})
            continue
        for line in block.text.splitlines():
            command, *arguments = shlex.split(line, comments=True)
            assert command == "segue", line
            run(*arguments)


@pytest.mark.parametrize("name", ["data", "evaluation", "training"])
def test_the_blocks_of_a_guide_run(name: str, folder: Path) -> None:
    run_blocks(name)


def test_the_blocks_of_the_pipeline_guide_run(folder: Path) -> None:
    (folder / "shop.toml").write_text(blocks("pipeline", "toml")[0].text.replace("epochs = 4", "epochs = 1"), "utf-8")
    run_blocks("pipeline")


def test_the_blocks_of_the_deployment_guide_run(folder: Path) -> None:
    for name, model in (("run", "covisit"), ("run2", "markov"), ("gru", "gru4rec")):
        extra = ["--set", "epochs=1", "--set", "embedding_dim=8"] if model == "gru4rec" else []
        run("train", "shop.csv", "--model", model, "--out", name, *extra)
    start_server(folder / "run", folder)
    run_blocks("deployment")


def start_server(model: Path, folder: Path) -> None:
    """Serve a model once, so that its data directory has an attribution file and an erasure list."""
    server, _ = start(model, 0)
    server.terminate()
    server.wait(timeout=30)


def test_the_requests_of_the_serving_guide_are_answered(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    run("train", "shop.csv", "--model", "covisit", "--items", "products.csv", "--out", "run")
    server, url = start(folder / "run", 0)
    try:
        body, example = (block.text for block in blocks("serving", "json"))
        request = Request(f"{url}/v1/recommend", body.encode(), {"Content-Type": "application/json"})
        with urlopen(request, timeout=10) as response:
            answered = json.load(response)
        expected = json.loads(example)
        defaults = {"variant": "live"}
        assert set(expected) <= set(answered) | set(defaults)
        assert set(expected["items"][0]) <= set(answered["items"][0])
        (client,) = blocks("serving", "python")
        exec(compile(client.text.replace("http://127.0.0.1:8000", url), "serving.md", "exec"), {})
    finally:
        server.terminate()
        server.wait(timeout=30)


def test_the_commands_of_the_live_catalog_guide_work(folder: Path) -> None:
    settings = '[[source]]\nmodel = "covisit"\n[[placement]]\nname = "home"\n[placement.rules]\nfilter = "price < 9"\n'
    (folder / "shop.toml").write_text(settings, encoding="utf-8")
    run("pipeline", "shop.csv", "shop.toml", "--items", "products.csv", "--out", "run")
    server, url = start(folder / "run", 0)
    try:
        event = json.dumps({"user_id": "ann", "item_id": "TEA-1"}).encode()
        urlopen(Request(f"{url}/v1/events", event, {"Content-Type": "application/json"}), timeout=10).close()
        for block in blocks("live-catalog", "sh"):
            text = block.text.replace("http://127.0.0.1:8000", url).replace("\\\n", " ")
            for line in text.splitlines():
                command, *arguments = shlex.split(line)
                if command == "segue":
                    run(*arguments)
                elif command == "curl":
                    made = f"BASE={url}; {line.replace('curl', 'curl --silent --fail-with-body', 1)}"
                    done = subprocess.run(["bash", "-c", made], capture_output=True, text=True, check=False)
                    assert done.returncode == 0, (line, done.stdout, done.stderr)
        with urlopen(f"{url}/v1/items/TEA-1", timeout=10) as response:
            assert json.load(response)["title"] == "龙井茶 50g"
    finally:
        server.terminate()
        server.wait(timeout=30)


def test_the_pipeline_settings_of_the_guide_are_those_of_the_module() -> None:
    first, *others = (block.text for block in blocks("pipeline", "toml"))
    docstring = inspect.getdoc(config) or ""
    assert first.rstrip() == textwrap.dedent(docstring.partition("::\n\n")[2]).rstrip()
    for text in [first, *others]:
        assert config.decode_pipeline(tomllib.loads(text)).source


def test_the_description_of_a_log_in_the_guide_is_valid(tmp_path: Path) -> None:
    (block,) = blocks("data", "toml")
    (tmp_path / "shop.toml").write_text(block.text, encoding="utf-8")
    assert read_log_config(tmp_path / "shop.toml")["events"] == ("点击", "购买")


def test_every_block_names_its_language() -> None:
    for page in GUIDES.glob("*.md"):
        languages = {block.language for block in blocks(page.stem)}
        assert languages <= {"sh", "python", "toml", "json", "text"}, page.name
