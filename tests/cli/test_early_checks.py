"""Options that a command needs late are checked before it reads anything: here no log, table or model exists."""

from pathlib import Path

import pytest
from tests.support.cli import run

from segue.system import extras
from segue.system.folder_use import mark_in_use

NOWHERE = "nowhere.csv"


@pytest.fixture
def mine(tmp_path: Path) -> Path:
    """A folder that holds something else."""
    (tmp_path / "mine").mkdir()
    (tmp_path / "mine" / "thesis.txt").write_text("years of work")
    return tmp_path / "mine"


@pytest.fixture
def settings(tmp_path: Path) -> Path:
    path = tmp_path / "shop.toml"
    path.write_text('[[source]]\nmodel = "covisit"\n')
    return path


def sentence_of(*arguments: object) -> str:
    done = run(*arguments, code=2)
    assert "Traceback" not in done.stderr
    return done.stderr.splitlines()[-1]


def test_out_that_is_something_else(mine: Path, settings: Path) -> None:
    for command in (
        ["train", NOWHERE, "--model", "covisit"],
        ["train", NOWHERE, "--model", "gru4rec"],
        ["pipeline", NOWHERE, settings],
        ["train-ranker", NOWHERE],
    ):
        assert sentence_of(*command, "--out", mine) == (
            f"segue: {mine} exists and is not a Segue model: choose another folder, or empty this one."
        )
        assert "Not a directory" in sentence_of(*command, "--out", mine / "thesis.txt" / "run")
        assert "exists and is not a Segue model" in sentence_of(*command, "--out", mine / "thesis.txt")
    assert [path.name for path in mine.parent.iterdir() if path.name != "shop.toml"] == ["mine"]
    assert (mine / "thesis.txt").read_text() == "years of work"


def test_a_link_as_out(tmp_path: Path, mine: Path) -> None:
    (tmp_path / "link").symlink_to(mine)
    assert "is a link" in sentence_of("train-ranker", NOWHERE, "--out", tmp_path / "link")


@pytest.mark.parametrize(
    ("command", "part"),
    [
        (["compare", "--models", ""], "--models names no model"),
        (["compare", "--models", "covisit", "--ties", "nope"], "There is no rule 'nope' for ties"),
        (["compare", "--models", "covisit", "--k", "0"], "List lengths must be at least 1"),
        (["compare", "--models", "covisit", "--seeds", "0"], "seeds must be at least 1"),
        (["compare", "--models", "covisit", "--protocol", "nope"], "There is no protocol 'nope'"),
        (["compare", "--models", "covisit", "--protocol", "fixed"], "--protocol fixed needs a test log"),
        (["compare", "--models", "covisit", "--items", "no-items.csv"], "There is no file no-items.csv."),
        (["compare", "--models", "covisit,sasrec", "--set", "sasrec.dropout=2"], "dropout must be"),
        (["train", "--model", "nope"], "There is no model 'nope'"),
        (["train", "--model", "covisit", "--protocol", "fixed"], "Protocol fixed needs a test log"),
        (["train", "--model", "covisit", "--protocol", "nope"], "There is no protocol 'nope'"),
        (["train", "--model", "covisit", "--set", "window=0"], "window must be at least 1"),
        (["train", "--model", "covisit+sasrec", "--set", "sasrec.num_heads=no"], "num_heads"),
        (["train", "--model", "gru4rec", "--set", "epochs=none"], "Setting 'epochs' must be"),
        (["train", "--model", "gru4rec", "--device", "gpu9"], "There is no device 'gpu9'"),
        (["train", "--model", "gru4rec", "--device", "cuda:64"], "There is no GPU for device 'cuda:64'"),
        (["train", "--model", "covisit", "--items", "no-items.csv"], "There is no file no-items.csv."),
        (["train", "--model", "covisit", "--users", "no-users.csv"], "There is no file no-users.csv."),
        (["train-ranker", "--model", "nope"], "There is no ranker 'nope'"),
        (["train-ranker", "--set", "epochs=no"], "epochs"),
        (["train-ranker", "--protocol", "nope"], "There is no protocol 'nope'"),
        (["trend", "--items", "no-items.csv"], "There is no file no-items.csv."),
        (["profile", "--items", "no-items.csv"], "There is no file no-items.csv."),
    ],
)
def test_options_of_commands_that_read_a_log(command: list[str], part: str) -> None:
    name, *options = command
    assert part in sentence_of(name, NOWHERE, *options).replace(f"{Path.cwd()}/", "")


@pytest.mark.parametrize(
    ("text", "part"),
    [
        ('[[source]]\nmodel = "nope"\n', "There is no model 'nope' for a source"),
        ('[[source]]\nmodel = "covisit"\nsettings = {window = 0}\n', "window must be at least 1"),
        ('[[source]]\nmodel = "sasrec"\nsettings = {epochs = "x"}\n', "Setting 'epochs' must be"),
        (
            '[[source]]\nmodel = "covisit"\n[rank]\nmodel = "din"\nsettings = {epochs = "x"}\n',
            "Setting 'epochs' must be",
        ),
    ],
)
def test_settings_of_a_pipeline(text: str, part: str, tmp_path: Path) -> None:
    (tmp_path / "shop.toml").write_text(text)
    assert part in sentence_of("pipeline", NOWHERE, tmp_path / "shop.toml", "--out", tmp_path / "run")


@pytest.mark.parametrize(
    ("module", "extra", "command"),
    [
        ("torch", "train", ["train", "--model", "gru4rec"]),
        ("onnxscript", "train", ["train", "--model", "sasrec"]),
        ("onnx", "train", ["compare", "--models", "covisit,sasrec"]),
        ("torch", "train", ["train-ranker"]),
        ("implicit", "classic", ["train", "--model", "ials"]),
        ("statsmodels", "trend", ["train", "--model", "trend", "--set", "method=ar"]),
        ("tensorboardX", "track", ["train", "--model", "gru4rec", "--log-dir", "curves"]),
    ],
)
def test_a_missing_package_is_named_with_its_extra(
    module: str, extra: str, command: list[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    found = extras.importlib.util.find_spec
    monkeypatch.setattr(extras.importlib.util, "find_spec", lambda name: None if name == module else found(name))
    name, *options = command
    sentence = sentence_of(name, NOWHERE, *options)
    assert sentence.endswith(f"needs {module}, which is not installed: pip install 'segue[{extra}]'.")


def test_a_missing_package_of_a_pipeline(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    found = extras.importlib.util.find_spec
    for module, text in (("lightgbm", '[rank]\nmethod = "trees"\n'), ("torch", '[rank]\nmodel = "din"\n')):
        (tmp_path / "shop.toml").write_text('[[source]]\nmodel = "covisit"\n' + text)
        monkeypatch.setattr(
            extras.importlib.util, "find_spec", lambda name, m=module: None if name == m else found(name)
        )
        assert f"needs {module}, which is not installed" in sentence_of("pipeline", NOWHERE, tmp_path / "shop.toml")


def test_files_to_write(mine: Path) -> None:
    for command in (["export", mine], ["recommend", mine, "--all-users", "--log", NOWHERE]):
        assert (
            sentence_of(*command, "--out", "lists.xlsx") == "segue: lists.xlsx should end in .parquet, .csv or .jsonl."
        )
    (mine / "folder.csv").mkdir()
    assert "it is a folder" in sentence_of(
        "recommend", mine, "--all-users", "--log", NOWHERE, "--out", mine / "folder.csv"
    )


def test_a_model_that_is_served_is_not_replaced(tmp_path: Path, settings: Path) -> None:
    out = tmp_path / "run"
    out.mkdir()
    with mark_in_use(out):
        for command in (
            ["train", NOWHERE, "--model", "covisit"],
            ["pipeline", NOWHERE, settings],
            ["train-ranker", NOWHERE],
        ):
            assert sentence_of(*command, "--out", out) == (
                f"segue: {out.resolve()} is being served, and the server would deploy what is written there: choose "
                "another --out and promote it, or write --replace."
            )
            assert f"There is no file {NOWHERE}" in sentence_of(*command, "--out", out, "--replace").replace(
                str(Path.cwd()) + "/", ""
            )
    assert f"There is no file {NOWHERE}" in sentence_of("train", NOWHERE, "--model", "covisit", "--out", out).replace(
        str(Path.cwd()) + "/", ""
    )
