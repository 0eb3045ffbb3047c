"""What a change of an event's fields breaks for those who wrote or read it before; pure.

Two versions of the program run side by side during an upgrade, and history is read for ever, so
both directions count: the new program reads what the old one wrote, and the old program what the
new one writes. One change passes both ways: a new field that may be absent. A wider type does not
(the old program refuses its values), and a new word in an enumeration does not either.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

from pydantic import BaseModel

Schema = dict[str, Any]
_PROSE = frozenset({"title", "description"})
_ABSENT = object()


def normal(model: type[BaseModel]) -> Schema:
    """A model's JSON schema with what matters only: no prose, no names of classes."""
    schema = model.model_json_schema()
    normalised = _normal(schema, schema.get("$defs", {}), ())
    assert isinstance(normalised, dict)
    return normalised


def incompatible(stored: Schema, current: Schema) -> list[str]:
    """What breaks when `current` takes the place of `stored`; nothing when it may, in words."""
    return list(_differences(stored, current, ""))


def _normal(part: Any, definitions: Schema, inside: tuple[str, ...]) -> Any:
    if isinstance(part, list):
        return [_normal(each, definitions, inside) for each in part]
    if not isinstance(part, dict):
        return part
    if "$ref" in part:
        name = part["$ref"].rpartition("/")[2]
        if name in inside:
            raise TypeError(f"{name} contains itself; events are flat facts")
        rest = {key: value for key, value in part.items() if key != "$ref"}
        return _normal({**definitions[name], **rest}, definitions, (*inside, name))
    found = {
        key: _fields(value, definitions, inside)
        if key == "properties"
        else _normal(value, definitions, inside)
        for key, value in part.items()
        if key not in _PROSE and key != "$defs"
    }
    if "const" in found:
        found["enum"] = [found.pop("const")]
    return found


def _fields(properties: Schema, definitions: Schema, inside: tuple[str, ...]) -> Schema:
    """Here the keys are names of fields, and one may well be called `title`."""
    return {name: _normal(each, definitions, inside) for name, each in properties.items()}


def _differences(stored: Any, current: Any, path: str) -> Iterator[str]:
    if not (isinstance(stored, dict) and isinstance(current, dict)):
        if stored != current:
            yield f"{_at(path)}: changed from {stored} to {current}"
        return
    if _kind(stored) != _kind(current):
        yield f"{_at(path)}: type changed from {_kind(stored)} to {_kind(current)}"
        return
    for key in sorted({*stored, *current} - {"type"}):
        before, after = stored.get(key, _ABSENT), current.get(key, _ABSENT)
        if key == "properties":
            yield from _of_fields(stored, current, path)
        elif key == "required":
            continue  # looked at with the fields
        elif key == "enum":
            yield from _of_words(before, after, path)
        elif key == "anyOf":
            pairs = zip(sorted(before, key=_kind), sorted(after, key=_kind), strict=True)
            for one, other in pairs:
                yield from _differences(one, other, path)
        elif key in {"items", "additionalProperties"}:
            yield from _differences(before, after, f"{path}[]")
        elif before != after:
            yield f"{_at(path)}: {key} changed from {_said(before)} to {_said(after)}"


def _of_fields(stored: Schema, current: Schema, path: str) -> Iterator[str]:
    before, after = stored.get("properties", {}), current.get("properties", {})
    needed_before, needed = set(stored.get("required", ())), set(current.get("required", ()))
    for name in sorted({*before, *after}):
        place = f"{path}.{name}" if path else name
        if name not in after:
            yield f"{place}: removed"
        elif name not in before:
            if name in needed:
                yield f"{place}: a new required field, which nobody wrote before"
        else:
            if name in needed - needed_before:
                yield f"{place}: has become required"
            elif name in needed_before - needed:
                yield f"{place}: may be absent now"
            yield from _differences(before[name], after[name], place)


def _of_words(before: Any, after: Any, path: str) -> Iterator[str]:
    if before is _ABSENT:
        yield f"{_at(path)}: any value was possible, now only {after}"
    elif after is _ABSENT:
        yield f"{_at(path)}: only {before} was possible, older programs refuse others"
    else:
        for word in before:
            if word not in after:
                yield f"{_at(path)}: {word!r} is no possible value any more"
        for word in after:
            if word not in before:
                yield f"{_at(path)}: {word!r} is a value that older programs refuse"


def _kind(schema: Any) -> str:
    """The type in words, of a union all of them."""
    if not isinstance(schema, dict):
        return str(schema)
    if "anyOf" in schema:
        return " or ".join(sorted(_kind(each) for each in schema["anyOf"]))
    return str(schema.get("type", "anything"))


def _at(path: str) -> str:
    return path or "the event"


def _said(value: Any) -> str:
    return "nothing" if value is _ABSENT else str(value)
