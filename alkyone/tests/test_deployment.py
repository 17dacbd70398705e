"""The files of a deployment: linted, true of the code as it stands, and run as they say, short of the containers."""

from __future__ import annotations

import importlib.util
import os
import re
import shlex
import shutil
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any, NamedTuple
from urllib.parse import quote

import pytest
import typer.main
import yaml
from dockerfile_parse import DockerfileParser
from prefect.settings import Settings as PrefectSettings
from prefect.settings import get_current_settings
from prefect.settings.legacy import _get_settings_fields
from psycopg.conninfo import conninfo_to_dict

import alkyone.__main__
import atlas.cli
import maia.cli
from alkyone.databases import drop_roles
from atlas import probe
from atlas.cli import METRICS_PORT
from atlas.config import SECRETS_DIR, Settings
from atlas.metrics import PATH

ROOT = Path(__file__).parents[2]
DOCKERFILE = ROOT / "maia/Dockerfile"
COMPOSE = ROOT / "docker-compose.yml"
KUBERNETES = ROOT / "maia/deploy/kubernetes"

PROGRAMS = {
    "maia": typer.main.get_command(maia.cli.app),
    "atlas": typer.main.get_command(atlas.cli.app),
    "alkyone": typer.main.get_command(alkyone.__main__.app),
}
OF_OTHERS = {"psql", "wget"}
"""Programs that other images bring; Prometheus is given options alone."""

VARIABLES = (
    {*Settings.model_fields}
    | {*_get_settings_fields(PrefectSettings)}
    # Of Python, the shell, and those who ask not to be watched.
    | {"PATH", "HOME", "PYTHONUNBUFFERED", "PYTHONDONTWRITEBYTECODE", "DO_NOT_TRACK", "NO_COLOR"}
    # Of the C library.
    | {"MALLOC_ARENA_MAX"}
    # Of uv, while the image is built.
    | {"UV_COMPILE_BYTECODE", "UV_LINK_MODE", "UV_PROJECT_ENVIRONMENT", "UV_PYTHON"}
    # Of PostgreSQL's image.
    | {"POSTGRES_USER", "POSTGRES_DB", "POSTGRES_PASSWORD_FILE"}
    # Of Grafana's: GF_<section>_<key>, and __FILE for one that is in a file.
    | {
        "GF_ANALYTICS_REPORTING_ENABLED",
        "GF_ANALYTICS_CHECK_FOR_UPDATES",
        "GF_ANALYTICS_CHECK_FOR_PLUGIN_UPDATES",
        "GF_SECURITY_ADMIN_PASSWORD__FILE",
    }
)


class Stage(NamedTuple):
    """A stage of the Dockerfile: instructions in order, and the environment they leave."""

    name: str
    steps: tuple[tuple[str, str], ...]
    environment: Mapping[str, str]

    def values(self, instruction: str) -> list[str]:
        return [value for name, value in self.steps if name == instruction]


@pytest.fixture(scope="session")
def stages() -> dict[str, Stage]:
    parsed = DockerfileParser(path=str(DOCKERFILE.parent), cache_content=True)
    found: dict[str, Stage] = {}
    name, steps = "", list[tuple[str, str]]()

    def end() -> None:
        if name:
            assignments = [word for kind, value in steps if kind == "ENV" for word in shlex.split(value)]
            found[name] = Stage(name, tuple(steps), dict(word.split("=", 1) for word in assignments))

    for line in parsed.structure:
        if line["instruction"] == "FROM":
            end()
            name, steps = line["value"].rpartition(" AS ")[2].strip(), []
        elif line["instruction"] != "COMMENT":
            steps.append((line["instruction"], line["value"]))
    end()
    return found


@pytest.fixture(scope="session")
def compose() -> dict[str, Any]:
    found: dict[str, Any] = yaml.safe_load(COMPOSE.read_text())
    return found


@pytest.fixture(scope="session")
def manifests() -> dict[Path, list[dict[str, Any]]]:
    """Every document of the folder, by file."""
    return {
        file: [document for document in yaml.safe_load_all(file.read_text()) if document]
        for file in sorted(KUBERNETES.rglob("*.yaml"))
    }


def context() -> list[Path]:
    """The files that the build gets: what .dockerignore lets through."""
    lines = [line for line in (ROOT / ".dockerignore").read_text().split("\n") if line and not line.startswith("#")]
    assert lines[0] == "*", "it lets nothing through but what it names"
    let, kept = [line[1:] for line in lines if line.startswith("!")], lines[1:]
    assert {line for line in kept if not line.startswith("!")} == {"**/__pycache__", "**/*.py[co]"}
    named = [ROOT / line for line in let]
    assert all(path.exists() for path in named)
    files = [file for path in named for file in (path.rglob("*") if path.is_dir() else [path]) if file.is_file()]
    return [file for file in files if "__pycache__" not in file.parts and file.suffix not in {".pyc", ".pyo"}]


def refuse_unknown_command(words: Sequence[str]) -> None:
    """Fail unless ``words`` is a command line that its program takes, with values of the right kind."""
    program, *rest = words
    if program in {"python", "python3"}:
        assert rest[0] == "-m"
        assert importlib.util.find_spec(rest[1]) is not None, f"no module {rest[1]}"
        assert rest[1] == "atlas.probe", "the options of no other module are known here"
        probe.options().parse_args(rest[2:])
    elif program in PROGRAMS:
        command: Any = PROGRAMS[program]
        while hasattr(command, "commands") and rest:
            name = rest.pop(0)
            assert name in command.commands, f"no such command: {shlex.join(words)}"
            command = command.commands[name]
        command.make_context(shlex.join(words), rest)  # reads every option and its value, runs nothing
    else:
        assert program in OF_OTHERS or program.startswith("--"), f"nobody knows {program}"


def option(words: Sequence[str], name: str) -> str | None:
    """The value that a command line gives an option."""
    return words[words.index(name) + 1] if name in words else None


def port_of(url: str) -> int:
    found = re.match(r"https?://[\w.-]+:(\d+)", url)
    assert found, url
    return int(found[1])


def containers(manifests: Mapping[Path, Sequence[Mapping[str, Any]]]) -> Iterator[tuple[str, Mapping[str, Any], Any]]:
    """Every container of the base, as the name of its workload, the pod's spec, and the container."""
    for file, documents in manifests.items():
        for document in documents if file.parent.name == "base" else []:
            if "template" in document.get("spec", {}):
                pod = document["spec"]["template"]["spec"]
                for container in pod["containers"]:
                    yield document["metadata"]["name"], pod, container


# -- Linted -----------------------------------------------------------------------------------------------------------


def tool(*words: str | Path) -> subprocess.CompletedProcess[str]:
    """Run a program of this environment."""
    program, *rest = map(str, words)
    found = Path(sys.executable).with_name(program)
    return subprocess.run([found, *rest], cwd=ROOT, capture_output=True, text=True, check=False)


def test_the_linters_find_nothing_in_the_dockerfile_and_the_compose_file() -> None:
    for words in (
        ("hadolint", "--failure-threshold", "info", DOCKERFILE),
        ("check-jsonschema", "--builtin-schema", "vendor.compose-spec", COMPOSE),
        ("compose-lint", "--fail-on", "high", COMPOSE),
    ):
        done = tool(*words)
        assert done.returncode == 0, done.stdout + done.stderr


def test_the_manifests_are_what_kubernetes_takes() -> None:
    # A kustomization is no object of Kubernetes': the next two tests are for it.
    files = [file for file in KUBERNETES.glob("base/*.yaml") if file.name != "kustomization.yaml"]
    assert files
    done = tool("kubernetes-validate", "--strict", *files)
    assert done.returncode == 0, done.stdout + done.stderr


def test_a_kustomization_names_what_is_there(manifests: dict[Path, list[dict[str, Any]]]) -> None:
    kustomizations = {file: documents[0] for file, documents in manifests.items() if file.name == "kustomization.yaml"}
    base = {
        (document["kind"], document["metadata"]["name"])
        for file, documents in manifests.items()
        for document in documents
        if file.parent.name == "base" and file.name != "kustomization.yaml"
    }
    generated = {
        entry["name"]
        for file, content in kustomizations.items()
        for entry in content.get("configMapGenerator", [])
        if entry.get("behavior", "create") == "create"
    }
    for file, content in kustomizations.items():
        named = {(file.parent / name).resolve() for name in content["resources"]}
        assert all(path.is_file() or (path / "kustomization.yaml").is_file() for path in named)
        if file.parent.name == "base":
            assert named == {path for path in file.parent.glob("*.yaml") if path != file}, "nothing is left out"
        for patch in content.get("patches", []):
            (document,) = manifests[file.parent / patch["path"]]
            assert (document["kind"], document["metadata"]["name"]) in base, "a patch of something there is"
        merged = {entry["name"] for entry in content.get("configMapGenerator", [])}
        assert merged <= generated


@pytest.mark.skipif(shutil.which("kubectl") is None, reason="no kubectl here to build with")
def test_an_overlay_builds_into_what_kubernetes_takes(tmp_path: Path) -> None:
    built = subprocess.run(
        ["kubectl", "kustomize", KUBERNETES / "overlays/example"], capture_output=True, text=True, check=False
    )
    assert built.returncode == 0, built.stderr
    file = tmp_path / "built.yaml"
    file.write_text(built.stdout)
    assert tool("kubernetes-validate", "--strict", file).returncode == 0
    documents = list(yaml.safe_load_all(built.stdout))
    (worker,) = [
        one for one in documents if one["metadata"]["name"] == "pleiades-worker" and one["kind"] == "Deployment"
    ]
    assert worker["spec"]["replicas"] == 3, "the patch"
    assert worker["spec"]["template"]["spec"]["containers"][0]["image"].startswith("registry.example.org/")
    (settings,) = [one["data"] for one in documents if one["kind"] == "ConfigMap"]
    assert settings["S3_BUCKET"]


# -- True of the code -------------------------------------------------------------------------------------------------


def test_every_command_is_one_that_its_program_takes(
    stages: Mapping[str, Stage], compose: Mapping[str, Any], manifests: dict[Path, list[dict[str, Any]]]
) -> None:
    final = stages["final"]
    lines = [yaml.safe_load(value) for value in final.values("CMD")]
    lines += [yaml.safe_load(value.partition("CMD ")[2]) for value in final.values("HEALTHCHECK")]
    for service in compose["services"].values():
        lines.append(service.get("command"))
        test = service.get("healthcheck", {}).get("test")
        assert test is None or test[0] == "CMD", "no shell"
        lines.append(test and test[1:])
    for _, _, container in containers(manifests):
        lines.append(container["command"])
        lines += [probe["exec"]["command"] for probe in probes(container) if "exec" in probe]
    found = [line for line in lines if line]
    assert len(found) > 15
    for words in found:
        assert isinstance(words, list), f"no list, so a shell would read it: {words}"
        refuse_unknown_command(words)


def test_every_variable_is_one_that_somebody_reads(
    stages: Mapping[str, Stage], compose: Mapping[str, Any], manifests: dict[Path, list[dict[str, Any]]]
) -> None:
    named = {name for stage in stages.values() for name in stage.environment}
    named |= {name for service in compose["services"].values() for name in service.get("environment", {})}
    named |= set(config_of(manifests))
    named |= {entry["name"] for _, _, container in containers(manifests) for entry in container.get("env", [])}
    assert len(named) > 20
    assert named <= VARIABLES
    for name in named & set(Settings.model_fields):
        assert "SecretStr" not in str(Settings.model_fields[name].annotation), f"{name} is a secret: give it by a file"


def test_every_secret_of_the_compose_file_is_a_setting_that_make_makes(compose: Mapping[str, Any]) -> None:
    made = set(re.findall(r"call SECRET,(\w+)", (ROOT / "Makefile").read_text()))
    declared = compose["secrets"]
    assert {Path(secret["file"]).name for secret in declared.values()} == made
    used = set()
    for name, service in compose["services"].items():
        for secret in service.get("secrets", []):
            source = secret if isinstance(secret, str) else secret["source"]
            used.add(source)
            if isinstance(secret, str):  # an image of others is told where it is
                assert f"{SECRETS_DIR}/{source}" in service["environment"].values(), name
            else:
                assert "SecretStr" in str(Settings.model_fields[secret["target"]].annotation), name
    assert used == set(declared)


def test_volumes_networks_configs_and_services_are_those_that_are_declared(compose: Mapping[str, Any]) -> None:
    services = compose["services"].values()
    mounts = [mount.split(":") for service in services for mount in service.get("volumes", [])]
    assert {source for source, *_ in mounts if not source.startswith(".")} == set(compose["volumes"])
    assert all((ROOT / source).is_file() for source, *_ in mounts if source.startswith("."))
    assert {name for service in services for name in service["networks"]} == set(compose["networks"])
    configs = {config["source"] for service in services for config in service.get("configs", [])}
    assert configs == set(compose["configs"])
    assert all(yaml.safe_load(config["content"]) for config in compose["configs"].values())
    assert {name for service in services for name in service.get("depends_on", {})} <= set(compose["services"])
    hosts = re.findall(r"https?://([\w.-]+):\d+|\[\"(\w+):\d+\"\]|@([a-z]+):\d", COMPOSE.read_text() + makefile())
    assert {name for groups in hosts for name in groups if name} <= set(compose["services"]) | {"127.0.0.1"}


def makefile() -> str:
    return (ROOT / "Makefile").read_text()


def test_ports_are_those_that_are_listened_on_and_published_on_loopback_alone(compose: Mapping[str, Any]) -> None:
    services = compose["services"]
    for name, service in services.items():
        for published in service.get("ports", []):
            host, outside, inside = published.split(":")
            assert (host, outside) == ("127.0.0.1", inside), name
            asked = service["healthcheck"]["test"]
            assert port_of(next(word for word in asked if word.startswith("http"))) == int(inside)
    assert services["metrics"]["ports"] == [f"127.0.0.1:{METRICS_PORT}:{METRICS_PORT}"]
    assert option(services["metrics"]["command"], "--port") == str(METRICS_PORT)
    assert services["server"]["ports"] == [f"127.0.0.1:{port_by_default('maia', 'server')}:4200"]
    assert port_of(services["worker"]["environment"]["PREFECT_API_URL"]) == port_by_default("maia", "server")
    assert f"metrics:{METRICS_PORT}" in compose["configs"]["prometheus"]["content"]


def test_health_is_asked_where_somebody_answers(
    stages: Mapping[str, Stage], compose: Mapping[str, Any], manifests: dict[Path, list[dict[str, Any]]]
) -> None:
    """The paths are asked for real by the test that runs it all."""
    runner = get_current_settings().runner.server.port
    (image,) = stages["final"].values("HEALTHCHECK")
    asked = [image, *(str(service.get("healthcheck", "")) for service in compose["services"].values())]
    for _, _, container in containers(manifests):
        ports = {port["name"]: port["containerPort"] for port in container.get("ports", [])}
        for one in probes(container):
            if "exec" in one:
                asked.append(str(one["exec"]["command"]))
            elif "httpGet" in one:
                asked.append(f"http://127.0.0.1:{ports[one['httpGet']['port']]}{one['httpGet']['path']}")
            else:
                assert one["tcpSocket"]["port"] in ports
    addresses = {address for text in asked for address in re.findall(r"http://[^'\"\s,]+", text)}
    known = {
        f"http://127.0.0.1:{runner}/health",
        "http://127.0.0.1:4200/api/health",
        "http://127.0.0.1:4200/api/ready",
        f"http://127.0.0.1:{METRICS_PORT}{PATH}",
        "http://127.0.0.1:9090/-/ready",  # Prometheus' own
        "http://127.0.0.1:3000/api/health",  # Grafana's own
    }
    assert addresses == known


def test_restarts_agree_with_the_exit_codes(
    compose: Mapping[str, Any], manifests: dict[Path, list[dict[str, Any]]]
) -> None:
    for name, service in compose["services"].items():
        ends = name == "setup"  # with 0 when done; what runs until it is stopped comes back whenever it ends
        assert service.get("restart", "unless-stopped").partition(":")[0] == (
            "on-failure" if ends else "unless-stopped"
        )
        waited_for = {
            depends[name]["condition"]
            for one in compose["services"].values()
            if name in (depends := one.get("depends_on", {}))
        }
        assert ("service_completed_successfully" in waited_for) == ends
    (job,) = [one for documents in manifests.values() for one in documents if one["kind"] == "Job"]
    (rule,) = job["spec"]["podFailurePolicy"]["rules"]
    assert rule["action"] == "FailJob"
    assert rule["onExitCodes"]["values"] == [atlas.cli.EXIT_WRONG_SETTINGS], (
        "wrong settings are not mended by another try"
    )


def test_the_manifests_speak_of_each_other_by_their_names(manifests: dict[Path, list[dict[str, Any]]]) -> None:
    base = [one for file, documents in manifests.items() if file.parent.name == "base" for one in documents]
    names: dict[str, set[str]] = {}
    for one in base:
        if one["kind"] != "Kustomization":
            names.setdefault(one["kind"], set()).add(one["metadata"]["name"])
    components = {
        one["metadata"]["labels"]["app.kubernetes.io/component"] for one in base if "template" in one.get("spec", {})
    }
    for _, pod, container in containers(manifests):
        assert {pod["serviceAccountName"]} == names["ServiceAccount"]
        volumes = {volume["name"]: volume for volume in pod["volumes"]}
        assert {mount["name"] for mount in container["volumeMounts"]} == set(volumes)
        claims = {
            volume["persistentVolumeClaim"]["claimName"]
            for volume in volumes.values()
            if "persistentVolumeClaim" in volume
        }
        assert claims <= names["PersistentVolumeClaim"]
        places = {mount["name"]: mount["mountPath"] for mount in container["volumeMounts"]}
        assert places["secrets"] == config_of(manifests)["PLEIADES_SECRETS_DIR"]
    selected = re.findall(
        r"app.kubernetes.io/component: (\w+)|values: \[(\w+), (\w+)\]", (KUBERNETES / "base/network.yaml").read_text()
    )
    assert {name for groups in selected for name in groups if name} <= components
    server = re.match(r"http://([\w-]+):(\d+)/api", config_of(manifests)["PREFECT_API_URL"])
    assert server
    assert server[1] in names["Service"]
    assert int(server[2]) == port_by_default("maia", "server")


def test_nobody_in_a_container_is_root_or_may_become_it(
    stages: Mapping[str, Stage], compose: Mapping[str, Any], manifests: dict[Path, list[dict[str, Any]]]
) -> None:
    (user,) = stages["final"].values("USER")
    account, group = map(int, user.split(":"))
    assert account == group
    for name, service in compose["services"].items():
        assert service["read_only"], name
        assert service["cap_drop"] == ["ALL"], name
        assert service["security_opt"] == ["no-new-privileges:true"], name
        assert service["deploy"]["resources"]["limits"].keys() == {"cpus", "memory", "pids"}, name
    for name, pod, container in containers(manifests):
        assert pod["securityContext"]["runAsNonRoot"], name
        assert pod["securityContext"]["runAsUser"] == account, name
        assert pod["automountServiceAccountToken"] is False, name
        assert container["securityContext"] == {
            "allowPrivilegeEscalation": False,
            "readOnlyRootFilesystem": True,
            "capabilities": {"drop": ["ALL"]},
        }
        assert container["resources"]["requests"].keys() == {"cpu", "memory"}
        assert "memory" in container["resources"]["limits"]


def test_the_image_is_made_of_what_it_needs_and_dependencies_come_before_code(stages: Mapping[str, Stage]) -> None:
    sent = {file.relative_to(ROOT).as_posix() for file in context()}
    assert not [name for name in sent if re.search(r"(^|/)(\.env|secrets|tests|\.git)", name)]
    copied = [value.split() for value in stages["build"].values("COPY")]
    for *sources, _ in copied:
        for source in sources:
            assert any(name == source or name.startswith(f"{source}/") for name in sent), source
    order = [
        value for _, value in stages["build"].steps if "uv sync" in value or value.startswith(("atlas/src", "maia/src"))
    ]
    assert "--no-install-workspace" in order[0], "what we depend on is a layer before any code"
    assert "uv sync" in order[-1]
    final = stages["final"]
    assert not [value for name, value in final.steps if name == "RUN" and re.search(r"apt|pip install|uv ", value)]
    assert "pip uninstall" in " ".join(final.values("RUN")), "nothing installs anything there"


def probes(container: Mapping[str, Any]) -> list[dict[str, Any]]:
    found = [container[name] for name in ("startupProbe", "livenessProbe", "readinessProbe") if name in container]
    assert len(found) in {0, 3}, "all or none"
    return found


def config_of(manifests: Mapping[Path, Sequence[Mapping[str, Any]]]) -> dict[str, str]:
    """The variables of every kustomization."""
    generators = [
        generator
        for file, documents in manifests.items()
        if file.name == "kustomization.yaml"
        for generator in documents[0].get("configMapGenerator", [])
    ]
    return dict(literal.split("=", 1) for generator in generators for literal in generator["literals"])


def port_by_default(program: str, command: str) -> int:
    (found,) = [param.default for param in PROGRAMS[program].commands[command].params if param.name == "port"]
    return int(found)


# -- Run --------------------------------------------------------------------------------------------------------------

PATIENCE_S = 240


@pytest.fixture
def image(stages: Mapping[str, Stage], tmp_path: Path) -> Path:
    """Do what the build stage does, but for its base image: the environment that the final stage gets.

    Its code is compiled when it is imported, and uv's cache is the machine's own: that saves most of the time.
    """
    uv = os.environ.get("UV") or shutil.which("uv") or next(iter(ROOT.glob(".uv/bin/uv")), None)
    if uv is None:
        pytest.skip("uv is not on the path: set UV to where it is")
    folder, venv = tmp_path / "src", tmp_path / "pleiades"
    ours = {"UV_PROJECT_ENVIRONMENT": str(venv), "UV_PYTHON": sys.executable, "UV_LINK_MODE": "hardlink"}
    environment = {**os.environ, **stages["build"].environment, **ours, "UV_COMPILE_BYTECODE": "0"}
    environment.pop("VIRTUAL_ENV", None)
    let = {file.relative_to(ROOT): file for file in context()}
    for instruction, value in stages["build"].steps:
        if instruction == "COPY":
            *sources, _ = value.split()
            for name, file in let.items():
                if any(name == Path(source) or Path(source) in name.parents for source in sources):
                    (folder / name).parent.mkdir(parents=True, exist_ok=True)
                    shutil.copy(file, folder / name)
        elif instruction == "RUN" and "uv sync" in value:
            arguments = shlex.split(value[value.index("uv sync") :])[1:]
            done = subprocess.run(
                [uv, *arguments], cwd=folder, env=environment, capture_output=True, text=True, check=False
            )
            assert done.returncode == 0, done.stderr
    return venv


class Composed:
    """Services of the compose file as processes of the image, on ports of their own."""

    def __init__(self, compose: Mapping[str, Any], stages: Mapping[str, Stage], image: Path, home: Path) -> None:
        self.services = compose["services"]
        self._default = stages["final"]
        self._image = image
        self._home = home
        self.secrets = home / "secrets"
        self.secrets.mkdir(parents=True)
        self._ports = {port: free_port() for port in (4200, 8080, 9464)}
        self._running: dict[str, subprocess.Popen[bytes]] = {}

    def start(self, name: str) -> subprocess.Popen[bytes]:
        words = [str(word) for word in self.services[name]["command"]]
        if name == "server":
            words += ["--port", "4200"]  # what it is by default is taken, maybe
        with (self._home / f"{name}.log").open("wb") as log:
            self._running[name] = subprocess.Popen(
                self._here(words),
                env=self._environment(name),
                cwd=self._home,
                stdout=log,
                stderr=log,
                stdin=subprocess.DEVNULL,
            )
        return self._running[name]

    def health(self, name: str) -> subprocess.CompletedProcess[str]:
        """Ask as the file says; a service that says nothing of it is asked as the image says."""
        (image,) = self._default.values("HEALTHCHECK")
        words = self.services[name].get("healthcheck", {}).get("test", [])[1:] or yaml.safe_load(
            image.partition("CMD ")[2]
        )
        return subprocess.run(
            self._here(words), env=self._environment(name), cwd=self._home, capture_output=True, text=True, check=False
        )

    def until_well(self, name: str) -> None:
        deadline = time.monotonic() + PATIENCE_S
        while (asked := self.health(name)).returncode:
            assert self._running[name].poll() is None, self.log(name)
            assert time.monotonic() < deadline, asked.stderr + self.log(name)
            time.sleep(1)  # another process, which has nothing to await

    def log(self, name: str) -> str:
        return (self._home / f"{name}.log").read_text()[-3000:]

    def forget(self, name: str) -> None:
        """Think no more of a service that has ended."""
        del self._running[name]

    def stop(self) -> dict[str, int]:
        """End them by SIGTERM, those first that need the others, and tell their exit codes."""
        codes = {}
        for name, process in reversed(self._running.items()):
            process.terminate()
            codes[name] = process.wait(PATIENCE_S)
        return codes

    def kill(self) -> None:
        for process in self._running.values():
            process.kill()
            process.wait()

    def _environment(self, name: str) -> dict[str, str]:
        (self._home / name).mkdir(exist_ok=True)
        image = {
            key: value.replace("/var/lib/pleiades", str(self._home / name))
            for key, value in self._default.environment.items()
        }
        ours = {key: str(value) for key, value in self.services[name].get("environment", {}).items()}
        ours = {key: value.replace("${VAULT_PROVIDER:-local}", "local") for key, value in ours.items()}
        api = ours.get("PREFECT_API_URL", "").replace("//server:4200", f"//127.0.0.1:{self._ports[4200]}")
        return {
            **image,
            **ours,
            **({"PREFECT_API_URL": api} if api else {}),
            "PREFECT_RUNNER_SERVER_PORT": str(self._ports[8080]),
            "PYTHONDONTWRITEBYTECODE": "",  # the image's is compiled already
            "PLEIADES_SECRETS_DIR": str(self._secrets_of(name)),
            "PATH": f"{self._image}/bin:{os.environ['PATH']}",
        }

    def _secrets_of(self, name: str) -> Path:
        """What the service is given, under the names that the file says, of what lies in ``secrets``."""
        folder = self._home / name / "secrets"
        folder.mkdir(parents=True, exist_ok=True)
        for secret in self.services[name].get("secrets", []):
            if (source := self.secrets / secret["source"]).exists():
                (folder / secret["target"]).write_bytes(source.read_bytes())
        return folder

    def _here(self, words: Sequence[str]) -> list[str]:
        program, *rest = words
        for port, free in self._ports.items():
            rest = [re.sub(rf"(^|:){port}\b", rf"\g<1>{free}", word) for word in rest]
        return [str(self._image / "bin" / program), *rest]


@pytest.fixture
def composed(
    compose: Mapping[str, Any], stages: Mapping[str, Stage], image: Path, tmp_path: Path
) -> Iterator[Composed]:
    found = Composed(compose, stages, image, tmp_path / "run")
    yield found
    found.kill()


@pytest.mark.engine
@pytest.mark.timeout(900)
def test_the_services_start_are_well_and_end_as_the_files_say(
    composed: Composed, empty_conninfo: str, request: pytest.FixtureRequest
) -> None:
    """All but the containers: an environment built as the image's, the commands, the health checks, the secrets."""
    assert composed.start("setup").wait(PATIENCE_S) == atlas.cli.EXIT_WRONG_SETTINGS, "no secret names a database"
    where = conninfo_to_dict(empty_conninfo)
    host = quote(str(where["host"]), safe="")
    roles = {role: f"{role}_{where['dbname']}" for role in ("writer", "reader")}
    request.addfinalizer(lambda: drop_roles(empty_conninfo, roles.values()))
    for secret, user in {"": where["user"], "writer_": roles["writer"], "reader_": roles["reader"]}.items():
        address = f"postgresql://{user}:word@/{where['dbname']}?host={host}&port={where['port']}"
        (composed.secrets / f"database_{secret}url").write_text(f"{address}\n")
    (composed.secrets / "youtube_api_key_pool_json").write_text('["a key"]')
    assert composed.start("setup").wait(PATIENCE_S) == 0, composed.log("setup")
    composed.forget("setup")

    composed.start("metrics")
    composed.start("server")
    composed.until_well("server")
    assert composed.health("worker").returncode == 1, "nobody is there"
    composed.start("worker")
    composed.until_well("worker")
    composed.until_well("metrics")
    assert composed.health("server").returncode == 0

    assert composed.stop() == {"worker": 0, "server": -signal.SIGTERM, "metrics": 0}


def free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port: int = probe.getsockname()[1]
        return port
