"""Python applications: what they depend on, how they are installed and started."""

from __future__ import annotations

import contextlib
from pathlib import Path

import pytest

from consumers.builds.builders.python import PythonBuilder
from consumers.builds.builders.python_requirements import Install, requirements
from consumers.builds.builders.python_start import start
from consumers.builds.declared import Declared
from consumers.builds.failures import NoStartCommand, PythonVersionMissing
from consumers.builds.listing import Listing
from consumers.builds.plan import Plan
from consumers.builds.toolchains import Toolchain
from zeitwork.errors import BuildFailed

HOST = "${HOST:-127.0.0.1}"
FLASK = "from flask import Flask\napp = Flask(__name__)\n"
FASTAPI = "import fastapi\n\napi: fastapi.FastAPI = fastapi.FastAPI()\n"
MANAGE = 'os.environ.setdefault("DJANGO_SETTINGS_MODULE", "shop.settings")'


def listing(texts: dict[str, str], *names: str) -> Listing:
    return Listing(frozenset({*names, *texts}), texts)


def plan(texts: dict[str, str], *names: str, declared: Declared | None = None) -> Plan:
    builder = PythonBuilder(Toolchain("3.11.7", Path("/opt/python/bin/python3.11")))
    return builder.plan(listing(texts, *names), declared or Declared())


def commands(made: Plan) -> list[str]:
    """Every command, those that install the dependencies included."""
    return [command.text for command in made.all_commands]


@pytest.mark.parametrize(
    ("text", "names"),
    [
        ("Flask==3.0\n", {"flask"}),
        ("zope.interface\nTyping_Extensions>=4", {"zope-interface", "typing-extensions"}),
        ("uvicorn[standard]>=0.30 ; python_version > '3.9'", {"uvicorn"}),
        ("fastapi[standard]", {"fastapi", "uvicorn"}),
        ("a # b\n# c\n\n  d", {"a", "d"}),
        ("-r other.txt\n--hash=sha256:00\n-e .", set()),
        ("shop @ https://h/shop.whl", {"shop"}),
        ("[broken\n;;;\n\x00", set()),
    ],
)
def test_names_in_requirement_files(text: str, names: set[str]) -> None:
    assert requirements(listing({"requirements.txt": text})).names == names


@pytest.mark.parametrize(
    ("texts", "names", "install"),
    [
        ({"requirements.txt": "six"}, (), Install.REQUIREMENTS),
        ({"requirements.txt": "# nothing\n\n"}, (), Install.NOTHING),
        ({"pyproject.toml": "[project]\nname='a'\ndependencies=['six']"}, (), Install.PROJECT),
        ({"pyproject.toml": "[project]\nname='a'"}, (), Install.NOTHING),
        ({"pyproject.toml": "[project]\nname='a'"}, ("uv.lock",), Install.LOCK),
        ({"pyproject.toml": "[build-system]\nrequires=[]"}, (), Install.PACKAGE),
        ({"pyproject.toml": "project = 3"}, (), Install.NOTHING),
        ({"pyproject.toml": "tool = 3\n[project]\ndependencies = 'six'"}, (), Install.NOTHING),
        ({"pyproject.toml": "[project]\ndependencies = [3]"}, (), Install.NOTHING),
        ({}, ("main.py",), Install.NOTHING),
    ],
)
def test_where_dependencies_come_from(
    texts: dict[str, str], names: tuple[str, ...], install: Install
) -> None:
    assert requirements(listing(texts, *names)).install is install


@pytest.mark.parametrize(
    ("texts", "names", "command"),
    [
        ({}, ("main.py",), "python main.py"),
        ({}, ("server.py", "app.py"), "python app.py"),
        (
            {"requirements.txt": "flask", "app.py": FLASK},
            (),
            f"flask --app app:app run --host {HOST} --port $PORT",
        ),
        (
            {"requirements.txt": "flask", "app.py": f"{FLASK}if __name__ == '__main__': app.run()"},
            (),
            "python app.py",
        ),
        (
            {"requirements.txt": "fastapi", "main.py": f"{FASTAPI}import x\nuvicorn.run(api)"},
            (),
            "python main.py",
        ),
        (
            {
                "requirements.txt": "starlette\nuvicorn",
                "app.py": "from starlette.applications import Starlette\nsite = Starlette()",
            },
            (),
            f"uvicorn app:site --host {HOST} --port $PORT",
        ),
        (
            {"requirements.txt": "django\nuvicorn", "manage.py": MANAGE},
            ("shop/asgi.py", "shop/wsgi.py"),
            f"uvicorn shop.asgi:application --host {HOST} --port $PORT",
        ),
        (
            {"requirements.txt": "flask\ngunicorn", "app.py": FLASK},
            (),
            f"gunicorn app:app --bind {HOST}:$PORT",
        ),
        (
            {"requirements.txt": "fastapi[standard]", "app/main.py": FASTAPI},
            (),
            f"uvicorn app.main:api --host {HOST} --port $PORT",
        ),
        (
            {"requirements.txt": "flask\ngunicorn", "app/__init__.py": FLASK},
            (),
            f"gunicorn app:app --bind {HOST}:$PORT",
        ),
        (
            {"requirements.txt": "django\ngunicorn", "manage.py": MANAGE},
            ("shop/wsgi.py", "main.py"),
            f"gunicorn shop.wsgi --bind {HOST}:$PORT",
        ),
        (
            {
                "requirements.txt": "django\ngunicorn",
                "manage.py": '("DJANGO_SETTINGS_MODULE", "config.settings.production")',
            },
            ("config/wsgi.py",),
            f"gunicorn config.wsgi --bind {HOST}:$PORT",
        ),
    ],
)
def test_how_it_is_started(texts: dict[str, str], names: tuple[str, ...], command: str) -> None:
    seen = listing(texts, *names)
    assert start(seen, requirements(seen)).command == command


@pytest.mark.parametrize(
    ("texts", "names", "advice"),
    [
        ({"requirements.txt": "six"}, ("shop.py",), "add a Procfile"),
        ({"requirements.txt": "fastapi", "main.py": FASTAPI}, (), "Add uvicorn to them"),
        ({"requirements.txt": "django", "manage.py": MANAGE}, ("shop/wsgi.py",), "Add gunicorn"),
        ({"requirements.txt": "gunicorn", "manage.py": MANAGE}, (), r"no PACKAGE/wsgi\.py"),
    ],
)
def test_without_a_start_command_the_message_says_what_to_add(
    texts: dict[str, str], names: tuple[str, ...], advice: str
) -> None:
    with pytest.raises(NoStartCommand, match=advice):
        plan(texts, *names)


def test_a_plan_for_requirements_installs_into_the_application() -> None:
    made = plan({"requirements.txt": "six"}, "main.py")
    python = "/opt/python/bin/python3.11"
    assert commands(made) == [
        f"uv venv --quiet --clear --relocatable --python {python} .venv",
        "uv pip install --python .venv/bin/python -r requirements.txt",
    ]
    assert made.path == (".venv/bin",)
    assert made.processes == {"web": "python main.py"}


def test_without_dependencies_nothing_runs() -> None:
    made = plan({}, "main.py")
    assert made.commands == ()
    assert made.path == ()


def test_the_procfile_decides_and_needs_no_start_rule() -> None:
    declared = Declared({"web": "python -m shop", "worker": "python -m work"})
    made = plan({"requirements.txt": "six"}, "shop.py", declared=declared)
    assert made.processes == declared.processes
    only_worker = plan({}, "main.py", declared=Declared({"worker": "work"}))
    assert only_worker.processes == {"web": "python main.py", "worker": "work"}


def test_static_files_are_collected_where_django_is_told_where_to() -> None:
    texts = {
        "requirements.txt": "django\ngunicorn",
        "manage.py": MANAGE,
        "shop/settings.py": "STATIC_ROOT = BASE / 'static'",
    }
    made = plan(texts, "shop/wsgi.py")
    assert made.commands[-1].argv[1:] == ("manage.py", "collectstatic", "--noinput")
    assert made.commands[-1].if_it_fails is not None
    without = {**texts, "shop/settings.py": "# STATIC_ROOT = 1"}
    assert plan(without, "shop/wsgi.py").commands == ()


@pytest.mark.parametrize("asked", ["3.11", "3", "3.11.2", "python-3.11.7", " 3.11\n"])
def test_this_python_may_be_asked_for(asked: str) -> None:
    plan({".python-version": asked}, "main.py")


@pytest.mark.parametrize("asked", ["3.12", "2.7.18", "pypy3.10", "python-3.10.1", "3.11; rm -rf /"])
def test_another_python_is_refused(asked: str) -> None:
    with pytest.raises(BuildFailed, match=r"this machine has 3\.11\.7"):
        plan({"runtime.txt": asked}, "main.py")


@pytest.mark.parametrize(
    ("wanted", "fits"), [(">=3.9", True), ("~=3.11.0", True), ("==3.12.*", False), ("<3.10", False)]
)
def test_requires_python_is_asked_of_this_python(wanted: str, *, fits: bool) -> None:
    texts = {"pyproject.toml": f"[project]\nname = 'a'\nrequires-python = '{wanted}'"}
    with contextlib.nullcontext() if fits else pytest.raises(PythonVersionMissing, match="Widen"):
        plan(texts, "main.py")


@pytest.mark.parametrize(
    ("requirements_txt", "shared"),
    [
        ("flask==3.1.0 --hash=sha256:00ff\n", True),
        ("flask==3.1.0 \\\n    --hash=sha256:00ff\n", True),
        ("uvicorn[standard]>=0.30 ; python_version > '3.9'", True),
        ("six", True),
        ("./wheels/a.whl", False),
        ("a @ file:///a.whl", False),
        ("-r base.txt", False),
        ("-e .", False),
        ("git+https://h/a", False),
    ],
)
def test_only_files_that_lead_to_no_others_make_a_layer(
    requirements_txt: str, *, shared: bool
) -> None:
    made = plan({"requirements.txt": requirements_txt}, "main.py")
    assert (made.layer is not None) is shared
    assert len(commands(made)) == 2


def test_a_locked_project_with_a_build_system_is_installed_above_its_dependencies() -> None:
    text = "[project]\nname = 'a'\n[build-system]\nrequires = []"
    made = plan({"pyproject.toml": text}, "uv.lock", "main.py")
    assert made.layer is not None
    assert "--no-install-project" in made.layer.commands[-1].argv
    assert [command.argv[-1] for command in made.commands] == ["--no-editable"]
    local = plan(
        {"pyproject.toml": f"{text}\n[tool.uv.sources]\nb = {{path='b'}}"}, "uv.lock", "main.py"
    )
    assert local.layer is None


def test_what_the_repository_declares_comes_before_what_the_builder_finds() -> None:
    made = plan({}, "main.py", declared=Declared(build="mkdocs build", site="pages"))
    assert (made.site, commands(made)) == ("pages", ["mkdocs build"])
