"""Files of deploy/ match the code: existing options, an import closure without torch, valid syntax."""

import configparser
import re
import subprocess
import sys
from pathlib import Path

import pytest
import yaml

from segue.serving.__main__ import main, ready
from segue.serving.http.auth import VARIABLES

DEPLOY = Path(__file__).resolve().parents[2] / "deploy"
LIGHT = """
import sys
for name in ("torch", "polars", "scipy", "pandas", "typer", "rich", "pyarrow", "httpx", "multipart", "sniffio"):
    sys.modules[name] = None  # importing it raises ModuleNotFoundError
before = set(sys.modules)
import segue.serving.__main__, segue.serving.server, segue.serving.client.async_client, segue.models.zoo
print(*{name.partition(".")[0] for name in set(sys.modules) - before})
"""


def needs():
    """Return the packages that the script installs."""
    lines = (DEPLOY / "requirements.in").read_text().splitlines()
    return {line.partition(";")[0].strip() for line in lines if not line.startswith("#")}


def locked(name):
    """Return (version, number of hashes) of each package of a lock."""
    text = (DEPLOY / f"{name}.txt").read_text().replace("\\\n", " ")
    rows = [line.split() for line in text.splitlines() if line]
    pairs = [row[0].split("==") for row in rows]
    counts = [sum(part.startswith("--hash=sha256:") for part in row) for row in rows]
    return {package: (version, count) for (package, version), count in zip(pairs, counts, strict=True)}


def test_a_server_starts_without_the_libraries_of_the_command_line(save, ring, tmp_path):
    """Start the server in an interpreter without them, up to the first response."""
    run = save(tmp_path / "run", "markov", ring)
    program = LIGHT.replace("print(", "0 and print(") + "sys.exit(segue.serving.__main__.main(sys.argv[1:]))"
    command = [sys.executable, "-c", program, str(run), "--port", "0"]
    server = subprocess.Popen(command, stderr=subprocess.PIPE, text=True)
    try:
        assert server.stderr is not None
        url = re.search(r"http://[^;]+", server.stderr.readline())
        assert url is not None
        while not ready(url.group()):
            assert server.poll() is None
        assert main(["--ready", url.group()]) == 0
    finally:
        server.terminate()
        server.communicate(timeout=20)
    assert server.returncode == 0
    assert main(["--ready", url.group()]) == 1


def test_the_script_installs_all_that_is_imported():
    done = subprocess.run([sys.executable, "-c", LIGHT], capture_output=True, text=True, check=True)
    outside = set(done.stdout.split()) - set(sys.stdlib_module_names) - {"segue"}
    theirs = {name.replace("-", "_") for name in needs()}
    theirs |= {"anyio", "idna", "typing_extensions", "click", "cython_runtime"}  # what these bring along
    assert {name for name in outside if not name.startswith("_")} <= theirs


def test_the_script_installs_the_packages_of_the_extra():
    import tomllib

    project = tomllib.loads((DEPLOY.parent / "pyproject.toml").read_text())["project"]
    plain = {re.split(r"[><=\[]", one)[0] for one in project["dependencies"]}
    extra = {re.split(r"[><=\[]", one)[0] for one in project["optional-dependencies"]["serve"]}
    assert extra <= needs() <= extra | plain


def test_an_error_ends_with_a_sentence_and_exit_code_two(tmp_path, capsys):
    assert main([str(tmp_path / "nothing")]) == 2
    assert capsys.readouterr().err == f"segue: {tmp_path / 'nothing'} is not a Segue model: it has no manifest.json.\n"
    with pytest.raises(SystemExit):
        main([])


def options(text):
    return set(re.findall(r"--[a-z-]+", text))


def test_every_option_of_the_files_exists(capsys):
    with pytest.raises(SystemExit):
        main(["--help"])
    known = options(capsys.readouterr().out)
    docker = (DEPLOY / "Dockerfile").read_text()
    commands = "\n".join(re.findall(r"^(?:CMD|HEALTHCHECK.*?CMD|ENTRYPOINT) (\[.*)$", docker, flags=re.MULTILINE))
    unit = configparser.ConfigParser(strict=False, interpolation=None)
    unit.optionxform = str
    unit.read(DEPLOY / "segue.service")
    assert "--ready" in options(commands) and options(commands) <= known
    assert "-m segue.serving" in unit["Service"]["ExecStart"]
    assert options(unit["Service"]["ExecStart"]) <= known
    assert unit["Service"]["RestartPreventExitStatus"] == "2"


def test_the_compose_file_names_keys_and_secrets_that_exist():
    found = yaml.safe_load((DEPLOY / "compose.yaml").read_text())
    server = found["services"]["segue"]
    names = {name for name in server["environment"] if name.startswith("SEGUE_")}
    assert names <= {f"{name}_FILE" for name in VARIABLES} and names
    assert set(server["secrets"]) <= set(found["secrets"])
    yaml.safe_load(found["configs"]["prometheus"]["content"])
    docker = (DEPLOY.parent / server["build"]["dockerfile"]).read_text()
    for source in re.findall(r"^COPY (?!--from)(.+)$", docker, flags=re.MULTILINE):
        for name in source.split()[:-1]:
            assert (DEPLOY.parent / name).exists(), name


def test_the_script_has_valid_syntax():
    done = subprocess.run(["bash", "-n", DEPLOY / "install-server"], capture_output=True, check=False)
    assert done.returncode == 0
    assert DEPLOY.joinpath("install-server").stat().st_mode & 0o111


@pytest.mark.parametrize("name", ["requirements", "build-requirements"])
def test_every_file_that_the_script_installs_has_a_hash_and_the_pinned_version(name):
    """When this fails: run scripts/lock-server."""
    lines = (DEPLOY.parent / "constraints.txt").read_text().split()
    pins = dict(line.lower().replace("_", "-").split("==") for line in lines)
    lock = locked(name)
    wanted = {
        line.partition(";")[0].strip() for line in (DEPLOY / f"{name}.in").read_text().splitlines() if line[0] != "#"
    }
    assert wanted <= set(lock)
    assert {package: version for package, (version, _) in lock.items()} == {package: pins[package] for package in lock}
    assert all(count for _, count in lock.values())
    script = (DEPLOY / "install-server").read_text()
    assert f'--require-hashes -r "$root/deploy/{name}.txt"' in script
    assert all(
        "--require-hashes" in line or "--no-deps" in line for line in script.splitlines() if "options[@]" in line
    )


def test_images_are_exact_versions():
    compose = yaml.safe_load((DEPLOY / "compose.yaml").read_text())
    images = [service["image"] for service in compose["services"].values() if "image" in service]
    docker = (DEPLOY / "Dockerfile").read_text()
    images += re.findall(r"^ARG PYTHON_IMAGE=(\S+)$", docker, flags=re.MULTILINE)
    assert len(images) == 2 and all(re.search(r":v?\d+\.\d+\.\d+", image) for image in images)
    assert set(re.findall(r"^FROM (\S+)", docker, flags=re.MULTILINE)) == {"${PYTHON_IMAGE}"}
