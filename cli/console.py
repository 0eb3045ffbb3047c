"""What `zeitwork up` tells its user: lines for people, or one JSON object for programs."""

from __future__ import annotations

from collections.abc import Iterable

from typing_extensions import override

from cli import output
from cli.example import Deployed
from cli.platform_file import Platform
from cli.ports import Port

_NAME_WIDTH = 9  # of services; replicas of scaled groups have longer names


class Console:
    """The silent one, and what the others can say."""

    def step(self, text: str) -> None:
        """Something begins."""

    def warn(self, text: str) -> None:
        """Something went wrong, and the platform runs on."""

    def ports(self, ports: Iterable[Port]) -> None:
        """The ports that were chosen."""

    def line(self, service: str, text: str) -> None:
        """A line of a service's log."""

    def ready(self, platform: Platform, *, seconds: float, example: Deployed | None) -> None:
        """Everything that was asked for runs; `seconds` since the start."""

    def happened(self, text: str) -> None:
        """Something happened on the running platform."""


class PeopleConsole(Console):
    """Progress on stderr, addresses on stdout."""

    @override
    def step(self, text: str) -> None:
        output.err.print(text, markup=False, soft_wrap=True)

    @override
    def warn(self, text: str) -> None:
        output.err.print("[yellow]warning[/yellow] ", end="")
        output.err.print(text, markup=False, soft_wrap=True)

    @override
    def ports(self, ports: Iterable[Port]) -> None:
        for port in ports:
            if port.moved:
                self.step(f"{port.name}: port {port.wanted} is taken, using {port.got}")

    @override
    def line(self, service: str, text: str) -> None:
        output.err.print(f"[dim]{service.ljust(_NAME_WIDTH)}[/dim] ", end="")
        output.err.print(text, markup=False, soft_wrap=True)

    @override
    def ready(self, platform: Platform, *, seconds: float, example: Deployed | None) -> None:
        output.err.print(f"[green]Ready[/green] after {seconds:.1f} s. Ctrl-C stops everything.")
        output.facts(
            {
                "example": example.url if example is not None else None,
                "": _curl(platform, example),
                "projects": platform.public_url.replace("://", "://NAME.", 1),
                "API": platform.api_url,
                "data": str(platform.data_dir),
            }
        )
        if example is not None and example.seconds is not None:
            output.err.print(f"The example was live {example.seconds:.2f} s after its push.")

    @override
    def happened(self, text: str) -> None:
        self.step(text)


def _curl(platform: Platform, example: Deployed | None) -> str | None:
    """For machines where names below localhost do not resolve."""
    return f"curl -H 'Host: {example.host}' {platform.proxy_url}/" if example else None


class JsonConsole(Console):
    """One object on stdout when ready; it holds no secret."""

    @override
    def warn(self, text: str) -> None:
        output.err.print(text, markup=False, soft_wrap=True)

    @override
    def ready(self, platform: Platform, *, seconds: float, example: Deployed | None) -> None:
        output.emit_json(
            {
                "api_url": platform.api_url,
                "proxy_url": platform.proxy_url,
                "public_url": platform.public_url,
                "data_dir": platform.data_dir,
                "pid": platform.pid,
                "ports": platform.ports,
                "ops_ports": platform.ops_ports,
                "seconds": round(seconds, 3),
                "example_url": example.url if example is not None else None,
            }
        )
