"""Commands as a user types them: results, JSON, sentences for errors, exit codes."""

import json
import os
import re
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest
from tests.support.cli import SEGUE, run

from segue.cli.commands import quickstart


@pytest.fixture(scope="module")
def log(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Forty users go round a ring of twelve teas, one event every ten minutes; two rows are invalid."""
    path = tmp_path_factory.mktemp("log") / "shop.csv"
    lines = ["customer,product,time"]
    for user in range(40):
        for step in range(8):
            item = (user + step) % 12
            lines.append(f"u{user},茶{item},{1_700_000_000 + 600 * step + user}")
    lines += ["u1,,1700000000", "u2,茶1,never"]
    path.write_text("\n".join(lines) + "\n", encoding="utf-8")
    return path


@pytest.fixture(scope="module")
def items(log: Path) -> Path:
    path = log.parent / "items.csv"
    path.write_text("product,title\n" + "".join(f"茶{i},Tea number {i}\n" for i in range(12)), encoding="utf-8")
    return path


@pytest.fixture(scope="module")
def model(log: Path, items: Path) -> Path:
    out = log.parent / "model"
    run("train", str(log), "--model", "covisit", "--out", str(out), "--items", str(items))
    return out


def test_help_is_fast_and_names_every_command() -> None:
    started = time.perf_counter()
    done = subprocess.run([*SEGUE, "--help"], capture_output=True, text=True, check=True)
    assert time.perf_counter() - started < 3
    for command in ("quickstart", "profile", "trend", "compare", "train", "recommend", "similar", "serve"):
        assert command in done.stdout
        assert re.search(r"^  Examples?:\n    segue ", run(command, "--help").stdout, flags=re.MULTILINE)


def test_compare_prints_the_promised_json(log: Path) -> None:
    done = run("compare", str(log), "--models", "popularity,markov", "--k", "1,5", "--json")
    rows = json.loads(done.stdout)
    assert [row["model"] for row in rows] == ["popularity", "markov"]
    assert rows[1]["metrics"]["recall@1"] == 1.0 > rows[0]["metrics"]["recall@1"]
    promised = "model seed protocol metrics intervals fit_s evaluate_s peak_rss_mb test_cases"
    assert set(promised.split()) <= set(rows[0])
    assert rows[0]["intervals"]["ndcg@5"][0] <= rows[0]["metrics"]["ndcg@5"] <= rows[0]["intervals"]["ndcg@5"][1]
    assert "1 rows rejected: item_id is missing." in done.stderr


def test_compare_prints_a_leaderboard_best_first(log: Path) -> None:
    shown = run("compare", str(log), "--models", "popularity,covisit").stdout
    assert shown.index("covisit") < shown.index("popularity")
    for words in ("95 % interval", "Protocol: time split", "Ties: expected", "Data: "):
        assert words in shown


def test_settings_reach_the_model_they_name(log: Path) -> None:
    done = run("compare", str(log), "--models", "covisit,item-knn", "--set", "covisit.decay=0.7", "--json")
    first, second = json.loads(done.stdout)
    assert first["settings"]["decay"] == 0.7
    assert second["settings"]["decay"] != 0.7


def test_train_recommend_similar(model: Path, log: Path) -> None:
    shown = run("recommend", str(model), "--history", "茶3,茶4,不明", "--k", "3")
    assert shown.stdout.splitlines()[1].split()[1] == "茶5"
    assert "Tea number 5" in shown.stdout
    assert "Not in the catalog, so not used: 不明." in shown.stderr
    written = json.loads(
        run("recommend", str(model), "--history", "茶3,茶4", "--steps", "3", "--strategy", "greedy", "--json").stdout
    )
    assert [item["item_id"] for item in written["items"]] == ["茶5", "茶6", "茶7"]
    assert written["strategy"] == "greedy"
    by_user = json.loads(run("recommend", str(model), "--user", "u0", "--log", str(log), "--json").stdout)
    assert by_user["history"] == [f"茶{i}" for i in range(8)]
    assert by_user["items"][0]["item_id"] == "茶8"
    assert "茶4" in run("similar", str(model), "--item", "茶3", "--k", "2").stdout


def test_a_network_from_the_command_line(log: Path, tmp_path: Path) -> None:
    sets = ["--set", "embedding_dim=8", "--set", "epochs=3", "--set", "batch_tokens=64", "--set", "learning_rate=0.02"]
    done = run("train", str(log), "--model", "gru4rec", "--out", str(tmp_path / "g"), "--json", *sets)
    result = json.loads(done.stdout)
    assert result["notes"]["epochs"] == 3
    answer = json.loads(run("recommend", str(tmp_path / "g"), "--history", "茶3,茶4", "--json").stdout)
    assert answer["items"][0]["item_id"] == "茶5"


def test_a_recipe_names_the_model_and_single_settings_may_change(log: Path, tmp_path: Path) -> None:
    small = [part for value in ("epochs=1", "embedding_dim=8", "max_length=10") for part in ("--set", value)]
    done = run("train", str(log), "--recipe", "esasrec", "--out", str(tmp_path / "run"), "--no-refit", "--json", *small)
    found = json.loads(done.stdout)
    assert found["model"] == "sasrec"
    assert (found["settings"]["block_type"], found["settings"]["embedding_dim"], found["settings"]["temperature"]) == (
        "ligr",
        8,
        None,
    )
    assert (found["notes"]["training"]["epochs"], found["notes"]["training"]["num_negatives"]) == (1, 256)
    official = ["--model", "gru4rec", "--recipe", "gru4rec-rsc15", "--set", "epochs=1", "--set", "num_negatives=16"]
    done = run("train", str(log), *official, "--out", str(tmp_path / "lanes"), "--no-refit", "--json")
    found = json.loads(done.stdout)
    assert (found["notes"]["training"]["parallel_sessions"], found["settings"]["embedding_dim"]) == (32, 100)
    wrong = run("train", str(log), "--recipe", "esasrec", "--model", "covisit", code=2)
    assert wrong.stderr.endswith("The recipe 'esasrec' is for sasrec, not for covisit: leave --model out.\n")


def test_profile_counts_users_items_and_rejected_rows(log: Path) -> None:
    found = json.loads(run("profile", str(log), "--json").stdout)
    assert (found["events"], found["users"], found["items"]) == (320, 40, 12)
    assert found["rejected"] == {
        "item_id is missing": 1,
        "timestamp is missing or no time between 1970 and 2200": 1,
    }


@pytest.mark.parametrize(
    ("arguments", "sentence"),
    [
        (["compare", "nowhere.csv"], "segue: There is no file nowhere.csv.\n"),
        (
            ["compare", "LOG", "--models", "gru5rec"],
            "segue: There is no model 'gru5rec'. Known models: popularity, trend, markov, covisit, "
            "item-knn, session-knn, spectral, ials, bpr, ease, fpmc, user-knn, vsknn, vstan, gru4rec, "
            "sasrec, lrurec, hstu, bert4rec, caser, nextitnet, seq2seq.\n",
        ),
        (
            ["compare", "LOG", "--models", "covisit", "--set", "covisit.dekay=1"],
            "Unknown setting 'dekay'. Did you mean 'decay'?\n",
        ),
        (["compare", "LOG", "--set", "decay"], "'decay' is not a setting: write name=value, for example epochs=5.\n"),
        (["compare", "LOG", "--k", "ten"], "whole numbers with commas between, as 5,10,20; got 'ten'.\n"),
        (["compare", "LOG", "--protocol", "random"], "There is no protocol 'random'."),
        (["recommend", "LOG", "--history", "a"], "is not a Segue model: it has no manifest.json.\n"),
        (
            ["compare", "LOG", "--strict"],
            "item_id is missing. 2 such rows; without strict they are rejected.\n",
        ),
        (["serve", "nowhere"], "segue: nowhere is not a Segue model: it has no manifest.json.\n"),
    ],
)
def test_errors_of_the_user_are_one_sentence(log: Path, arguments: list[str], sentence: str) -> None:
    done = run(*[str(log) if a == "LOG" else a for a in arguments], code=2)
    assert sentence in done.stderr
    assert "Traceback" not in done.stderr
    assert done.stdout == ""


def test_unknown_users_and_options_are_refused(model: Path, log: Path) -> None:
    done = run("recommend", str(model), "--user", "unknown", "--log", str(log), code=2)
    assert f"segue: There is no user 'unknown' in {log}.\n" in done.stderr
    assert "Give either --history or --user" in run("recommend", str(model), code=2).stderr
    assert "No such option" in run("compare", str(log), "--modles", "x", code=2).stderr


def test_a_missing_extra_is_named_and_internal_errors_are_not_hidden(tmp_path: Path) -> None:
    """A misspelt import in segue itself was once reported as a missing extra."""
    (tmp_path / "broken.py").write_text(
        "import sys\nimport segue.cli.main as main\n"
        "def fail(): raise ModuleNotFoundError(f'No module named {sys.argv[1]!r}', name=sys.argv[1])\n"
        "main.app = fail\nmain.main()\n"
    )
    command = [sys.executable, str(tmp_path / "broken.py")]
    extra = subprocess.run([*command, "httptools.parser"], capture_output=True, text=True, check=False)
    assert extra.stderr == "segue: This needs httptools, which is not installed: pip install 'segue[serve]'.\n"
    assert extra.returncode == 2
    ours = subprocess.run([*command, "segue.typo"], capture_output=True, text=True, check=False)
    assert ours.returncode == 1 and "Traceback" in ours.stderr


def test_files_that_cannot_be_opened_and_tracebacks_on_request(log: Path) -> None:
    error = run("train", str(log), "--model", "markov", "--out", str(log / "inside"), code=2).stderr
    assert error.endswith("Not a directory.\n") and "Traceback" not in error
    shown = subprocess.run(
        [*SEGUE, "profile", "nowhere.csv"],
        capture_output=True,
        text=True,
        check=False,
        env={**os.environ, "SEGUE_TRACEBACK": "1"},
    ).stderr
    assert shown.startswith("segue: There is no file nowhere.csv.\n") and "Traceback" in shown


def test_an_item_id_may_hold_a_comma(log: Path, tmp_path: Path) -> None:
    path = tmp_path / "commas.csv"
    path.write_text(log.read_text(encoding="utf-8").replace("茶3", '"tea, black"'), encoding="utf-8")
    run("train", str(path), "--model", "markov", "--out", str(tmp_path / "m"))
    for arguments in (["--history", "tea, black"], ["--history", "茶2", "--history", "tea, black"]):
        answer = json.loads(run("recommend", str(tmp_path / "m"), *arguments, "--json").stdout)
        assert answer["unknown"] == []
        assert answer["items"][0]["item_id"] == "茶4"


def test_a_server_that_cannot_start_is_reported(tmp_path: Path) -> None:
    with pytest.raises(ValueError, match=re.escape(f"The server for {tmp_path} did not start; see above.")):
        quickstart.start(tmp_path, 0)


def test_live_part_of_the_quick_start(model: Path, capsys: pytest.CaptureFixture[str]) -> None:
    server, url = quickstart.start(model, 0)
    try:
        quickstart.show_live(url, {"茶3": "three", "茶8": "eight"})
    finally:
        server.terminate()
        server.wait(timeout=30)
    head, first = capsys.readouterr().out.splitlines()[:2]
    assert re.split(r"\s{2,}", head.strip()) == ["after three (茶3)", "after eight (茶8)"]
    assert "Tea number 4 (茶4)" in first and "Tea number 9 (茶9)" in first


SETS = ["batch_tokens=16", "patience=1000", "epochs=12"]
TRAIN = ["train", "--model", "gru4rec", "--seed", "3", *[part for text in SETS for part in ("--set", text)]]


def weights(folder: Path) -> bytes:
    return (folder / "weights.safetensors").read_bytes()


def test_ctrl_c_saves_and_resume_ends_with_the_same_bits(log: Path, tmp_path: Path) -> None:
    run(*TRAIN, log, "--out", tmp_path / "whole")
    command = [*SEGUE, *TRAIN, str(log), "--out", str(tmp_path / "stopped")]
    stopped = subprocess.Popen(command, stderr=subprocess.PIPE, stdout=subprocess.DEVNULL, text=True)
    deadline = time.monotonic() + 60
    while not list(tmp_path.glob("stopped-training/*.checkpoint")) and time.monotonic() < deadline:
        time.sleep(0.01)
    os.kill(stopped.pid, signal.SIGINT)
    _, errors = stopped.communicate(timeout=30)
    assert stopped.returncode == 130
    assert "Go on with: segue train --resume" in errors and "Traceback" not in errors
    assert not (tmp_path / "stopped").exists()
    run("train", "--resume", str(tmp_path / "stopped"))
    assert weights(tmp_path / "stopped") == weights(tmp_path / "whole")
    assert sorted(p.name for p in tmp_path.iterdir()) == ["stopped", "whole"]


def test_nothing_to_resume_is_refused(tmp_path: Path) -> None:
    error = run("train", "--resume", str(tmp_path / "x"), code=2).stderr
    assert error == f"segue: There is no unfinished training of {tmp_path / 'x'}: it has ended, or never began.\n"
    assert "Name the log to train on, or --resume" in run("train", code=2).stderr


def test_version() -> None:
    assert re.fullmatch(r"segue \d+\.\d+\.\d+\S*", run("--version").stdout.strip())


def test_a_log_of_single_events(tmp_path: Path) -> None:
    """Popularity needs no histories; a model that does is refused before it is trained."""
    log = tmp_path / "log.csv"
    log.write_text(
        "user,item,time\n" + "".join(f"u{i},i{i % 4 if i < 30 else 1},{1_700_000_000 + i}\n" for i in range(40))
    )
    for model in ("popularity", "trend"):
        done = run("train", log, "--model", model, "--out", tmp_path / model)
        assert "Not evaluated: no event of the test has an earlier event of its user." in done.stderr
        assert (
            json.loads(run("train", log, "--model", model, "--out", tmp_path / model, "--json").stdout)["test_cases"]
            == 0
        )
        best = json.loads(run("recommend", tmp_path / model, "--history", "i0", "--k", "1", "--json").stdout)
        assert best["items"][0]["item_id"] == "i1"
    for model in ("covisit", "gru4rec", "popularity+covisit"):
        done = run("train", log, "--model", model, "--out", tmp_path / "none", code=2)
        assert done.stderr.splitlines()[-1] == (
            "segue: There is no case to evaluate; dropped: {'no history': 4}. A case is an event of the test with an "
            "earlier event of its user. Without any, 'segue train' fits popularity and trend, which need no histories."
        )
    assert "There is no case to evaluate" in run("compare", log, "--models", "popularity", code=2).stderr
