"""examples/deploy: every path, flag and variable in these files exists, and what they start does start.

Nothing here builds an image or starts a unit; nginx.conf is run by tests/interop/test_nginx.py.
"""

import json
import re
import shlex
import shutil
import subprocess
import sys
from pathlib import Path

import pytest
from cli.program import LIMIT_SECONDS, environment, program, site

from mcpcore.cli.flags import RUN_FLAGS, SERVING_FLAGS, Flag
from mcpcore_transports.http.workers import STOP_SECONDS

ROOT = Path(__file__).parents[2]
DEPLOY = ROOT / "examples" / "deploy"
DOCKERFILE = DEPLOY / "Dockerfile"
UNIT = DEPLOY / "mcpcore@.service"
SETTINGS = DEPLOY / "settings.md"

DOCKER_KILLS_AFTER_SECONDS = 10
"""What `docker stop` gives a container by default."""

INSTRUCTIONS = {
    "FROM",
    "COPY",
    "RUN",
    "ENV",
    "WORKDIR",
    "USER",
    "EXPOSE",
    "STOPSIGNAL",
    "HEALTHCHECK",
    "ENTRYPOINT",
    "CMD",
}
FLAGS = (*RUN_FLAGS, *SERVING_FLAGS)
VARIABLES = {flag.variable for flag in FLAGS} | {"MCPCORE_STATE_KEY"}


def row(flag: Flag) -> str:
    given = f"`--{flag.name}`" if flag.metavar is None else f"`--{flag.name} {flag.metavar}`"
    keyword = flag.keyword
    if flag.name in ("transport", "era"):
        keyword = {"transport": "the first argument", "era": "Server(eras=)"}[flag.name]
    else:
        keyword = f"`{keyword}=`"
    about = flag.about.replace("; see below", "")
    return f"| {given} | `{flag.variable}` | {keyword} | {about} |"


def test_the_table_of_settings_is_that_of_the_flags() -> None:
    """Each row as it has to be: copy it from the message of this test."""
    table = "\n".join(row(flag) for flag in FLAGS)
    found = "\n".join(line for line in SETTINGS.read_text().splitlines() if line.startswith("| `--"))
    assert found == table, f"\n{table}\n"


def test_settings_names_no_variable_that_nobody_reads() -> None:
    told = set(re.findall(r"MCPCORE_[A-Z_]+", SETTINGS.read_text()))
    assert told >= {flag.variable for flag in FLAGS}
    assert told - VARIABLES == {"MCPCORE_TOKEN", "MCPCORE_UVLOOP"}


# -- Dockerfile ------------------------------------------------------------------------------------------------------


def instructions() -> list[tuple[str, str]]:
    """The instructions in order, with their lines joined and without comments."""
    lines = [line for line in DOCKERFILE.read_text().splitlines() if not line.lstrip().startswith("#")]
    joined = re.sub(r"\\\n\s*", " ", "\n".join(lines))
    return [(word, rest.strip()) for word, _, rest in (line.partition(" ") for line in joined.splitlines() if line)]


def instruction(word: str) -> str:
    """The last one of its kind, which is the one that counts."""
    return [rest for name, rest in instructions() if name == word][-1]


def variables() -> dict[str, str]:
    return dict(word.split("=", 1) for word in shlex.split(instruction("ENV")))


def test_the_dockerfile_is_one() -> None:
    names = [name for name, _ in instructions()]
    assert names[0] == "FROM"
    assert set(names) == INSTRUCTIONS
    images = [rest for name, rest in instructions() if name == "FROM"]
    assert all(re.fullmatch(r"python:3\.\d+-slim( AS \w+)?", image) for image in images), images
    user, group = instruction("USER").split(":")
    assert int(user) > 0 < int(group)
    assert names.index("USER") < names.index("ENTRYPOINT")


def test_what_it_copies_is_there() -> None:
    stages = {rest.partition(" AS ")[2] for name, rest in instructions() if name == "FROM"}
    for words in (rest.split() for name, rest in instructions() if name == "COPY"):
        if words[0].startswith("--from="):
            assert words[0].removeprefix("--from=") in stages
            continue
        for source in words[:-1]:
            assert (ROOT / source).exists(), source
    project = (ROOT / "pyproject.toml").read_text()
    [extra] = re.findall(r"/src\[(\w+)\]", instruction("RUN"))
    assert re.search(rf"^{extra} = \[", project, re.MULTILINE)
    copied = {word for name, rest in instructions() if name == "COPY" for word in rest.split()}
    # What hatchling needs to build: the packages, and the files that the metadata name.
    assert copied >= {"pyproject.toml", "README.md", "LICENSE", "mcpcore", "transports"}


def test_its_settings_are_settings() -> None:
    found = variables()
    ours = {name for name in found if name.startswith("MCPCORE_")}
    assert ours - VARIABLES == set()
    assert instruction("EXPOSE") == found["MCPCORE_PORT"]
    assert float(found["MCPCORE_GRACE"]) + STOP_SECONDS < DOCKER_KILLS_AFTER_SECONDS
    assert found["PATH"].startswith("/opt/mcpcore/bin:")


def test_the_container_starts_and_is_healthy() -> None:
    """Its own words, settings and health check, without the container around them."""
    entry, command = json.loads(instruction("ENTRYPOINT")), json.loads(instruction("CMD"))
    assert entry == ["mcpcore", "run"]
    [place] = command
    sources = [rest.split() for name, rest in instructions() if name == "COPY"]
    [source] = [words[0] for words in sources if words[-1] == place]
    ours = {name: value for name, value in variables().items() if name.startswith("MCPCORE_")}
    del ours["MCPCORE_PORT"]
    refused = subprocess.run(
        program("run", str(ROOT / source)),
        env=environment(**ours),
        capture_output=True,
        text=True,
        timeout=LIMIT_SECONDS,
    )
    assert (refused.returncode, "--public-url" in refused.stderr) == (2, True)

    check = instruction("HEALTHCHECK").partition("CMD ")[2]
    python, *words = json.loads(check)
    assert python == "python"
    with site(ROOT / source, MCPCORE_PUBLIC_URL="https://mcp.example.com", **ours) as served:
        assert "0.0.0.0" in served.urls[0]
        healthy = subprocess.run(
            [sys.executable, *words], env=environment(MCPCORE_PORT=str(served.port)), timeout=LIMIT_SECONDS
        )
        assert healthy.returncode == 0
        port = str(served.port)
        assert served.stop() == 0
    ill = subprocess.run(
        [sys.executable, *words], env=environment(MCPCORE_PORT=port), capture_output=True, timeout=LIMIT_SECONDS
    )
    assert ill.returncode == 1


# -- systemd ---------------------------------------------------------------------------------------------------------


def unit() -> dict[str, list[str]]:
    """Values by key; a key may have several."""
    found: dict[str, list[str]] = {}
    for line in UNIT.read_text().splitlines():
        if "=" in line and not line.startswith("#"):
            key, _, value = line.partition("=")
            found.setdefault(key, []).append(value)
    return found


def test_the_unit_sets_what_there_is_and_waits_long_enough() -> None:
    settings = dict(word.split("=", 1) for line in unit()["Environment"] for word in line.split())
    assert {name for name in settings if name.startswith("MCPCORE_")} - VARIABLES == set()
    assert set(re.findall(r"MCPCORE_[A-Z_]+", UNIT.read_text())) - VARIABLES == set()
    [stop] = unit()["TimeoutStopSec"]
    assert float(stop) > float(settings["MCPCORE_GRACE"]) + STOP_SECONDS
    [start] = unit()["ExecStart"]
    assert start.split()[:2] == ["/opt/mcpcore/bin/mcpcore", "run"]
    ports = re.findall(r"^# .*enable --now (.*)$", UNIT.read_text(), re.MULTILINE)[0].split()
    named = {word.removeprefix("mcpcore@") for word in ports}
    assert set(re.findall(r"server 127\.0\.0\.1:(\d+) ", (DEPLOY / "nginx.conf").read_text())) == named


@pytest.mark.parametrize("tool", ["systemd-analyze"])
def test_systemd_understands_the_unit(tool: str, tmp_path: Path) -> None:
    """Where systemd is there. With a program that exists: it looks."""
    if shutil.which(tool) is None:
        return
    copy = tmp_path / "mcpcore@8001.service"
    copy.write_text(UNIT.read_text().replace("/opt/mcpcore/bin/mcpcore run", "/bin/true"))
    done = subprocess.run([tool, "verify", str(copy)], capture_output=True, text=True, timeout=LIMIT_SECONDS)
    assert (done.returncode, done.stderr) == (0, "")


# -- nginx -----------------------------------------------------------------------------------------------------------


def test_nginx_takes_as_large_a_body_as_the_server() -> None:
    from mcpcore_transports.http.options import MAX_BODY_BYTES

    [size] = re.findall(r"client_max_body_size (\d+)m;", (DEPLOY / "nginx.conf").read_text())
    assert int(size) * 1024 * 1024 == MAX_BODY_BYTES


def test_the_files_name_settings_that_exist() -> None:
    for path in DEPLOY.iterdir():
        if path != SETTINGS:
            assert set(re.findall(r"MCPCORE_[A-Z_]+", path.read_text())) - VARIABLES == set(), path.name
