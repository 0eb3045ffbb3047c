"""`zeitwork events dead …`: messages that no attempt could handle; try them again, or let go."""

from __future__ import annotations

import json
from collections.abc import Sequence
from contextlib import nullcontext
from dataclasses import dataclass
from typing import Annotated, Any, Literal

from cyclopts import App, Parameter

from cli import exits, output
from cli.client import ApiProblem, Client, connect
from cli.confirmation import confirm
from cli.exits import Exit
from cli.options import Flag, Options
from zeitwork.errors import InvalidInput

app = App(name="dead", help="Dead letters: list, show, redrive, discard.")

_ALL_AT_ONCE = 500
_WORTH_PROGRESS = 20  # calls; fewer are done within a second
_Ids = Annotated[str, Parameter(help="Ids of dead letters.")]


@Parameter(name="*")
@dataclass(frozen=True)
class Choice:
    """Which dead letters, where no ids are given."""

    all: Annotated[bool, Flag, Parameter(help="Every open one, instead of ids.")] = False
    durable: Annotated[str | None, Parameter(help="With --all: only of this durable.")] = None
    yes: Annotated[bool, Flag, Parameter(alias="-y", help="With --all: do not ask.")] = False


@app.command(name="list")
async def list_(
    *,
    state: Annotated[
        Literal["open", "redriven", "discarded", "all"], Parameter(help="What was decided.")
    ] = "open",
    durable: Annotated[str | None, Parameter(help="Only of this durable.")] = None,
    limit: Annotated[int, Parameter(help="How many, newest first.")] = 50,
    options: Options = Options(),  # noqa: B008 - frozen
) -> int:
    """List dead letters, newest first; by default those that wait for a decision."""
    async with connect(options) as client:
        found = (
            await client.get(
                "/dead-letters",
                state=None if state == "all" else state,
                durable=durable,
                limit=limit,
            )
        )["items"]
    if options.json:
        output.emit_json(found)
        return Exit.OK
    output.table(
        ["DEAD LETTER", "STATE", "DURABLE", "EVENT", "ERROR", "TRIES", "CREATED"],
        [
            [
                each["id"],
                output.state(each["state"]),
                each["durable"],
                each["event_type"] or each["subject"],
                each["error_code"],
                str(each["attempts"]),
                output.age(each["created_at"]),
            ]
            for each in found
        ],
        empty="No open dead letters." if state == "open" else "No such dead letters.",
    )
    return Exit.OK


@app.command
async def show(
    letter: Annotated[str, Parameter(help="The dead letter's id.")],
    /,
    *,
    options: Options = Options(),  # noqa: B008 - frozen
) -> int:
    """Show a dead letter: why it is there, its headers and its body."""
    async with connect(options) as client:
        found = await client.get(f"/dead-letters/{letter}")
    if options.json:
        output.emit_json(found)
    else:
        _print(found)
    return Exit.OK


@app.command
async def redrive(
    *letters: _Ids,
    choice: Choice = Choice(),
    options: Options = Options(),  # noqa: B008 - frozen
) -> int:
    """Have dead letters tried again, by the durable that failed and by no other."""
    return await _decide("redrive", letters, choice, options)


@app.command
async def discard(
    *letters: _Ids,
    choice: Choice = Choice(),
    options: Options = Options(),  # noqa: B008 - frozen
) -> int:
    """Note that nobody needs dead letters any more."""
    return await _decide("discard", letters, choice, options)


async def _decide(what: str, letters: Sequence[str], choice: Choice, options: Options) -> int:
    if bool(letters) == choice.all:
        raise InvalidInput("Give the ids of dead letters, or --all.")
    if choice.durable is not None and not choice.all:
        raise InvalidInput("--durable narrows --all; ids need neither.")
    async with connect(options) as client:
        if choice.all:
            letters = await _open(client, choice.durable)
            whose = f" of {choice.durable}" if choice.durable else ""
            question = f"{what.capitalize()} {len(letters)} open dead letters{whose}?"
            if letters and not choice.yes and not await confirm(question):
                output.err.print("Nothing was changed.")
                return Exit.INTERRUPTED
        said = await _each(client, what, letters)
    if options.json:
        output.emit_json([_document(letter, answer) for letter, answer in said])
    else:
        _report(said)
    problems = [answer for _, answer in said if isinstance(answer, ApiProblem)]
    return exits.of(problems[0]) if problems else Exit.OK


async def _open(client: Client, durable: str | None) -> list[str]:
    """Oldest first, so that redriven messages keep their order."""
    found = await client.pages(
        "/dead-letters", "before", state="open", durable=durable, limit=_ALL_AT_ONCE
    )
    return [each["id"] for each in reversed(found)]


async def _each(
    client: Client, what: str, letters: Sequence[str]
) -> list[tuple[str, dict[str, Any] | ApiProblem]]:
    """Decide about one after the other; what is refused does not keep the rest."""
    said: list[tuple[str, dict[str, Any] | ApiProblem]] = []
    many = len(letters) > _WORTH_PROGRESS
    waiting = output.progress(f"{len(letters)} dead letters …") if many else nullcontext()
    with waiting as status:
        for number, letter in enumerate(letters, 1):
            try:
                said.append((letter, await client.post(f"/dead-letters/{letter}/{what}", {})))
            except ApiProblem as problem:
                said.append((letter, problem))
            if status is not None and number % _WORTH_PROGRESS == 0:
                status.update(f"{number} of {len(letters)} …")
    return said


def _document(letter: str, answer: dict[str, Any] | ApiProblem) -> dict[str, Any]:
    if isinstance(answer, ApiProblem):
        return {"id": letter, "error": {"code": answer.code, "detail": str(answer)}}
    return answer


def _report(said: Sequence[tuple[str, dict[str, Any] | ApiProblem]]) -> None:
    for letter, answer in said:
        if isinstance(answer, ApiProblem):
            reason = str(answer)
            output.err.print(output.text(reason if letter in reason else f"{letter}: {reason}"))
        else:
            output.out.print(letter, output.state(answer["state"]))
    if not said:
        output.err.print("No open dead letters.")


def _print(found: dict[str, Any]) -> None:
    decided = found["decided_by"] and f"by {found['decided_by']}, {output.age(found['decided_at'])}"
    correlation = found["correlation_id"]
    output.facts(
        {
            "Dead letter": found["id"],
            "State": output.state(found["state"]),
            "Decided": decided,
            "Durable": found["durable"],
            "Error": f"{found['error_code']}: {found['error_detail']}",
            "Tries": str(found["attempts"]),
            "Event": found["event_type"] and f"{found['event_type']} {found['event_id'] or ''}",
            "Subject": found["subject"],
            "Stored as": f"{found['stream']} {found['sequence']}",
            "Created": output.age(found["created_at"]),
            "Timeline": correlation and f"zeitwork events list --correlation {correlation}",
        }
    )
    output.out.print()
    output.table(
        ["HEADER", "VALUE"],
        [[name, value] for name, value in sorted(found["headers"].items())],
        empty="No headers.",
    )
    output.out.print()
    if found["body_encoding"] == "json":
        output.line(json.dumps(found["body"], indent=2))
    else:
        output.err.print("The body is not JSON; in base64:")
        output.line(found["body"])
