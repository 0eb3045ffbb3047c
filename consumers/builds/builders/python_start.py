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
    if "uvicorn" in requirements and (found := _application(listing, modules, _ASGI)):
        module, name = found
        return Start(
            f"uvicorn {module}:{name} --host {_HOST} --port $PORT",
            f"uvicorn is a dependency and {modules[module]} defines {name}",
        )
    if "gunicorn" in requirements and (found := _application(listing, modules, _WSGI)):
        module, name = found
        return Start(
            f"gunicorn {module}:{name} --bind {_HOST}:$PORT",
            f"gunicorn is a dependency and {modules[module]} defines {name}",
        )
    if script := listing.first("main.py", "app.py", "server.py"):
        return Start(f"python {script}", f"{script} is present")
    raise NoStartCommand(
        "This is a Python application, but nothing says how to start it: there is no Procfile, "
        f"manage.py, main.py, app.py or server.py. To fix it, {_PROCFILE}."
    )


def _django(listing: Listing, requirements: Requirements) -> Start:
    if "gunicorn" not in requirements:
        raise NoStartCommand(
            "manage.py makes this a Django application, but no server is among its dependencies. "
            f"Add gunicorn to them, or {_PROCFILE}."
        )
    settings = _SETTINGS.search(listing.text("manage.py"))
    packages = [settings["module"].rpartition(".")[0]] if settings else []
    # `config.settings.production` keeps its wsgi.py one package higher.
    packages += [package.rpartition(".")[0] for package in packages]
    packages += sorted(name.split("/")[0] for name in listing.files if _is_wsgi(name))
    for package in packages:
        if package and f"{package.replace('.', '/')}/wsgi.py" in listing:
            return Start(
                f"gunicorn {package}.wsgi --bind {_HOST}:$PORT",
                f"manage.py is present, gunicorn is a dependency and {package}.wsgi exists",
            )
    raise NoStartCommand(
        "manage.py makes this a Django application, but no PACKAGE/wsgi.py was found. Add one, "
        f"or {_PROCFILE}."
    )


def _is_wsgi(path: str) -> bool:
    return path.count("/") == 1 and path.endswith("/wsgi.py")


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
