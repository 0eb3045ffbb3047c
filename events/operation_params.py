"""What an operator may ask for, by kind, and the form of its parameters."""

from __future__ import annotations

import re
from collections.abc import Mapping
from typing import Annotated, Any, Final, Literal

from pydantic import ConfigDict, Field, StringConstraints, field_validator, model_validator

from events import streams
from events.streams import Durable
from zeitwork.errors import InvalidInput
from zeitwork.fields import Body, Moment

_IDENTIFIER = re.compile(r"[a-z]{3}_[0-9a-z]{26}")
_SUBJECT_TOKEN = re.compile(r"[A-Za-z0-9_-]+|\*")
_MOST_DRY = 500  # events of one report


class UnknownKind(InvalidInput):
    """There is no operation of this kind."""

    code = "unknown_operation"


class Params(Body):
    """The base of every kind's parameters."""

    model_config = ConfigDict(frozen=True)


def _pattern(value: str) -> str:
    """An id, or a subject in which `*` is one token and a last `>` the rest."""
    tokens = value.removesuffix(".>").split(".")
    if _IDENTIFIER.fullmatch(value) or all(map(_SUBJECT_TOKEN.fullmatch, tokens)):
        return value
    raise ValueError("must be an id or a subject, in which * is one token and a last > the rest")


TypePattern = Annotated[
    str, StringConstraints(pattern=r"^(?:[a-z_]+|\*)(?:\.(?:[a-z_]+|\*))*$", max_length=64)
]
SubjectPattern = Annotated[str, StringConstraints(max_length=255)]


class Window(Params):
    """A slice of the event log; what is None does not narrow it.

    Attributes:
        since: the earliest time.
        until: the first time that is too late.
        type: an event type; `*` stands for one part (`deployment.*`).
        subject: an aggregate's id, or a pattern of the subjects that events travel on.
        deployment: a deployment's id, for its causal chain.
    """

    since: Moment | None = None
    until: Moment | None = None
    type: TypePattern | None = None
    subject: SubjectPattern | None = None
    correlation: Annotated[str, StringConstraints(max_length=64)] | None = None
    deployment: Annotated[str, StringConstraints(max_length=64)] | None = None

    @field_validator("subject")
    @classmethod
    def _check_subject(cls, value: str | None) -> str | None:
        return None if value is None else _pattern(value)


class ReplayParams(Window):
    """Hand logged events to a consumer once more.

    Attributes:
        mode: `dry` shows what would happen and lets nothing happen; `again` is for real.
        consumer: the name of a durable.
        limit: the most events; a dry run takes up to 100 unless told otherwise.
    """

    mode: Literal["dry", "again"]
    consumer: str
    limit: Annotated[int, Field(ge=1)] | None = None

    @model_validator(mode="after")
    def _check(self) -> ReplayParams:
        names = [durable.name for durable in replayable(self.mode)]
        if self.consumer not in names:
            raise ValueError(f"a replay in mode {self.mode} goes to one of {', '.join(names)}")
        if self.mode == "dry" and self.limit is not None and self.limit > _MOST_DRY:
            raise ValueError(f"a dry run takes up to {_MOST_DRY} events")
        return self


class RefillParams(Params):
    """Fill ZW_EVENTS from the event log."""


class RebuildRoutingParams(Params):
    """Recompute routing_cache; `apply` writes the difference."""

    apply: bool = False


KINDS: Final[Mapping[str, type[Params]]] = {
    "rebuild-routing": RebuildRoutingParams,
    "refill": RefillParams,
    "replay": ReplayParams,
}


def params_of(kind: str, said: Mapping[str, Any]) -> Params:
    """The parameters of an operation, checked.

    Raises:
        UnknownKind: see its class.
        pydantic.ValidationError: the parameters are not of the kind's form.
    """
    model = KINDS.get(kind)
    if model is None:
        raise UnknownKind(f"There is no operation {kind!r}: use one of {', '.join(sorted(KINDS))}.")
    return model.model_validate(said)


def replayable(mode: Literal["dry", "again"]) -> list[Durable]:
    """Whom events can be replayed to.

    Work runs again by asking for it (deploy, or a new operation), never by a replay. What ends the
    road of other messages has no events of its own.
    """
    return [
        durable
        for durable in streams.DURABLES
        if not durable.endless
        and durable is not streams.OPERATIONS
        and (mode == "dry" or durable.stream == streams.EVENTS.name)
    ]


def is_pattern(subject: str) -> bool:
    """True for a pattern of subjects, False for an aggregate's id."""
    return _IDENTIFIER.fullmatch(subject) is None
