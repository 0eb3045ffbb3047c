"""The base of every event, the registry of types, and the upcasting of old versions."""

from __future__ import annotations

import json
from collections.abc import Callable
from typing import Any, ClassVar

from pydantic import BaseModel, ConfigDict, ValidationError
from typing_extensions import override

from zeitwork.errors import InvalidInput, Unavailable

MAX_EVENT_BYTES = 256 * 1024  # ZW_EVENTS refuses larger messages

Upcaster = Callable[[dict[str, Any]], dict[str, Any]]


class UnknownEvent(InvalidInput):
    """Nobody here knows this event type."""

    code = "unknown_event"


class UndecodableEvent(InvalidInput):
    """The payload does not fit its type; it can never be handled."""

    code = "undecodable_event"


class NewerEvent(Unavailable):
    """The event was written by a newer version of Zeitwork; a newer replica can handle it."""

    code = "newer_event"


class Event(BaseModel):
    """A fact or a command: ids and facts, no secrets, no large bodies.

    Subclasses name their type and version: `class BuildStarted(Event, type="build.started")`.
    Adding an optional field keeps the version; anything else raises it and adds an upcaster.
    """

    model_config = ConfigDict(frozen=True, extra="ignore")

    event_type: ClassVar[str]
    event_version: ClassVar[int]

    @override
    def __init_subclass__(
        cls,
        *,
        type: str | None = None,
        version: int = 1,
        **kwargs: Any,
    ) -> None:
        """Declare `type`; a base class without one only shares its fields."""
        super().__init_subclass__(**kwargs)
        if type is None:
            return
        if type in REGISTRY:
            raise TypeError(f"event type {type!r} is declared twice")
        cls.event_type = type
        cls.event_version = version
        REGISTRY[type] = cls

    def encode(self) -> bytes:
        return self.model_dump_json().encode()


REGISTRY: dict[str, type[Event]] = {}
_UPCASTERS: dict[tuple[str, int], Upcaster] = {}


def upcaster(type_: str, from_version: int) -> Callable[[Upcaster], Upcaster]:
    """Register the pure step from `from_version` to the next."""

    def register(step: Upcaster) -> Upcaster:
        _UPCASTERS[type_, from_version] = step
        return step

    return register


def decode(type_: str, version: int, payload: bytes) -> Event:
    """The event in `payload`, brought to the version this process knows.

    Raises:
        UnknownEvent: no such type here.
        NewerEvent: the version is newer than ours.
        UndecodableEvent: the payload does not fit.
    """
    model = REGISTRY.get(type_)
    if model is None:
        raise UnknownEvent(f"unknown event type {type_!r}")
    if version > model.event_version:
        raise NewerEvent(f"{type_} version {version} is newer than {model.event_version}")
    try:
        data = json.loads(payload)
        for step in range(version, model.event_version):
            data = _UPCASTERS[type_, step](data)
        return model.model_validate(data)
    except (ValueError, KeyError, RecursionError, ValidationError) as error:
        raise UndecodableEvent(f"{type_} version {version} cannot be decoded") from error
