"""How a Python application is started when no Procfile says so. Pure."""

from __future__ import annotations

import re
from dataclasses import dataclass

from consumers.builds.builders.python_requirements import Requirements
from consumers.builds.failures import NoStartCommand
from consumers.builds.listing import PYTHON_MODULES, Listing

# HOST is where the node wants it to listen; an application that is only reached by the proxy on
# the same machine has no reason to listen elsewhere.
_HOST = "${HOST:-127.0.0.1}"
_ASSIGNED = r"^(?P<name>\w+)\s*(?::[^=\n]+)?=\s*(?:\w+\.)?(?:{})\("
_ASGI = re.compile(_ASSIGNED.format("FastAPI|Starlette"), re.MULTILINE)
_WSGI = re.compile(_ASSIGNED.format("Flask|Bottle"), re.MULTILINE)
_SETTINGS = re.compile(r"""DJANGO_SETTINGS_MODULE["'],\s*["'](?P<module>[\w.]+)["']""")
_FILES = ("main.py", "app.py", "server.py")
_STARTS_ITSELF = re.compile(r"__main__|\b(?:uvicorn|hypercorn|app|api|server)\.run\(|\bserve\(")
_PROCFILE = "add a Procfile with a line such as `web: gunicorn app:app`"


@dataclass(frozen=True, slots=True)
class Start:
    """A shell command and the reason for it."""

    command: str
    reason: str


def start(listing: Listing, requirements: Requirements) -> Start:
    """The start command of the web process: Django, then ASGI, then WSGI, then a script.

    Raises:
        NoStartCommand: nothing tells; the message says what to add.
    """
    if "manage.py" in listing:
        return _django(listing, requirements)
    modules = _modules(listing)
    if found := _application(listing, modules, _ASGI):
        return _served(listing, requirements, "uvicorn", found, modules[found[0]])
    if found := _application(listing, modules, _WSGI):
        return _served(listing, requirements, "gunicorn", found, modules[found[0]])
    if script := listing.first(*_FILES):
        return Start(f"python {script}", f"{script} is present")
    raise NoStartCommand(
        "This is a Python application, but nothing says how to start it: there is no Procfile, "
        f"manage.py, main.py, app.py or server.py. To fix it, {_PROCFILE}."
    )


def _served(
    listing: Listing,
    requirements: Requirements,
    server: str,
    application: tuple[str, str],
    path: str,
) -> Start:
    """An application that needs a server, unless its script starts one itself."""
    module, name = application
    if server in requirements:
        where = {"uvicorn": f"--host {_HOST} --port $PORT", "gunicorn": f"--bind {_HOST}:$PORT"}
        return Start(
            f"{server} {module}:{name} {where[server]}",
            f"{server} is a dependency and {path} defines {name}",
        )
    if path in _FILES and _STARTS_ITSELF.search(listing.text(path)):
        return Start(f"python {path}", f"{path} is present, and starts its own server")
    if "flask" in requirements:
        return Start(
            f"flask --app {module}:{name} run --host {_HOST} --port $PORT",
            f"{path} defines {name}; add gunicorn to the dependencies to serve it by more than "
            "Flask's own server",
        )
    raise NoStartCommand(
        f"{path} defines {name}, but no server for it is among the dependencies. Add {server} to "
        f"them, or {_PROCFILE}."
    )


def _django(listing: Listing, requirements: Requirements) -> Start:
    server, kind = ("gunicorn", "wsgi")
    if server not in requirements and "uvicorn" in requirements:
        server, kind = ("uvicorn", "asgi")
    if server not in requirements:
        raise NoStartCommand(
            "manage.py makes this a Django application, but no server is among its dependencies. "
            f"Add gunicorn to them, or {_PROCFILE}."
        )
    settings = _SETTINGS.search(listing.text("manage.py"))
    packages = [settings["module"].rpartition(".")[0]] if settings else []
    # `config.settings.production` keeps its wsgi.py one package higher.
    packages += [package.rpartition(".")[0] for package in packages]
    packages += sorted(name.split("/")[0] for name in listing.files if _is_entry(name, kind))
    for package in packages:
        if package and f"{package.replace('.', '/')}/{kind}.py" in listing:
            command = (
                f"gunicorn {package}.wsgi --bind {_HOST}:$PORT"
                if server == "gunicorn"
                else f"uvicorn {package}.asgi:application --host {_HOST} --port $PORT"
            )
            return Start(
                command,
                f"manage.py is present, {server} is a dependency and {package}.{kind} exists",
            )
    raise NoStartCommand(
        f"manage.py makes this a Django application, but no PACKAGE/{kind}.py was found. Add one, "
        f"or {_PROCFILE}."
    )


def _is_entry(path: str, kind: str) -> bool:
    return path.count("/") == 1 and path.endswith(f"/{kind}.py")


def _modules(listing: Listing) -> dict[str, str]:
    """Importable modules that may hold the application, with their files, best first."""
    modules = {name: f"{name}.py" for name in PYTHON_MODULES}
    modules |= {f"app.{name}": f"app/{name}.py" for name in PYTHON_MODULES}
    modules["app"] = modules["app"] if "app.py" in listing else "app/__init__.py"
    return {module: path for module, path in modules.items() if path in listing}


def _application(
    listing: Listing, modules: dict[str, str], pattern: re.Pattern[str]
) -> tuple[str, str] | None:
    for module, path in modules.items():
        if match := pattern.search(listing.text(path)):
            return module, match["name"]
    return None
