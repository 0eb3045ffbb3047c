"""The applications under examples/: what builds them, what they say, and where."""

from __future__ import annotations

import shutil
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

from consumers.builds import toolchains
from zeitwork import subprocesses

EXAMPLES = Path(__file__).parents[2] / "examples"
_LOCK_TIMEOUT_SECONDS = 40.0


@dataclass(frozen=True)
class Example:
    """One of them.

    Attributes:
        text: what the page says; it stands in the file `code`.
        says: what else it says once it is built.
        installs: the beginning of the command that installs its dependencies.
        bare: what a person types to build it by hand.
    """

    name: str
    builder: str
    code: str
    text: str
    says: str = ""
    installs: str | None = None
    bare: tuple[tuple[str, ...], ...] = ()

    @property
    def path(self) -> Path:
        return EXAMPLES / self.name

    def copy(self, target: Path) -> None:
        shutil.copytree(self.path, target, dirs_exist_ok=True)

    def saying(self, text: str) -> Mapping[str, str]:
        """The change of code, and of nothing else, that makes the page say `text`."""
        original = (self.path / self.code).read_text()
        changed = original.replace(self.text, text)
        assert changed != original
        return {self.code: changed}


# Nothing has to be installed for these, so that they are built without any network.
FIRST = (
    Example("hello", "static", "index.html", "It is live."),
    Example("python-plain", "python", "main.py", "Hello from Python"),
    Example("node-plain", "node", "server.js", "Hello from Node"),
)
INSTALLED = (
    Example(
        "flask",
        "python",
        "app.py",
        "Hello from Flask",
        installs="uv pip install",
        bare=(("uv", "venv", "--quiet"), ("uv", "pip", "install", "-r", "requirements.txt")),
    ),
    Example(
        "fastapi",
        "python",
        "main.py",
        "hello",
        installs="uv sync",
        bare=(("uv", "sync", "--locked"),),
    ),
    Example(
        "express",
        "node",
        "server.js",
        "Hello from Express",
        installs="npm ci",
        bare=(("npm", "ci"),),
    ),
    Example(
        "vite",
        "node",
        "index.html",
        "Built with Vite",
        says="/assets/index-",
        installs="npm ci",
        bare=(("npm", "ci"), ("npm", "run", "build")),
    ),
)
# One of each kind.
SAMPLES = (FIRST[0], *INSTALLED)


async def lock(repository: Path) -> str | None:
    """Write uv.lock as its author does, since it names the index; None, or why there is none."""
    (repository / ".gitignore").unlink()
    done = await subprocesses.run(
        [str(toolchains.uv()), "lock", "--quiet", "--project", str(repository)],
        timeout=_LOCK_TIMEOUT_SECONDS,
    )
    return done.output[-200:] if done.returncode != 0 else None
