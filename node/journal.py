"""What a node must remember of an instance through a restart of its agent; one file each."""

from __future__ import annotations

import os
from collections.abc import Iterator
from datetime import datetime
from pathlib import Path

from pydantic import BaseModel, ConfigDict, Field, ValidationError

from events.instances import InstanceSpec
from node.runtimes.base import Handle
from zeitwork import logs

_log = logs.get(__name__)


class Entry(BaseModel):
    """An instance as the journal has it.

    Attributes:
        handle: its process, None while there is none.
        ever_ready: from then on it is restarted when it ends, and no longer failed.
        variables: of its environment, once they were fetched; they never change for an instance.
        started_at: when its release command began.
        exit_code: how its release command ended, once that is known.
    """

    model_config = ConfigDict(frozen=True)

    spec: InstanceSpec
    handle: Handle | None = None
    ever_ready: bool = False
    variables: dict[str, str] | None = Field(default=None, repr=False)
    started_at: datetime | None = None
    exit_code: int | None = None


class Journal:
    """Entries below `root`, written aside and renamed; 0600, as environments may hold secrets."""

    def __init__(self, root: Path) -> None:
        self._root = root

    def save(self, entry: Entry) -> None:
        self._root.mkdir(parents=True, exist_ok=True)
        target = self._path(entry.spec.instance_id)
        aside = _aside(target)
        descriptor = os.open(aside, os.O_WRONLY | os.O_CREAT | os.O_TRUNC, 0o600)
        with os.fdopen(descriptor, "w") as file:
            file.write(entry.model_dump_json())
        aside.replace(target)

    def attempt(self, instance_id: str) -> bool:
        """Note that something begins that may happen only once; False when it had begun before.

        It is on disk when this returns: not even a power cut makes it begin again, and neither does
        an entry that cannot be read any more.
        """
        self._root.mkdir(parents=True, exist_ok=True)
        mark = _mark(self._path(instance_id))
        try:
            os.close(os.open(mark, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600))
        except FileExistsError:
            return False
        directory = os.open(self._root, os.O_RDONLY | os.O_DIRECTORY)
        try:
            os.fsync(directory)
        finally:
            os.close(directory)
        return True

    def find(self, instance_id: str) -> Entry | None:
        try:
            return Entry.model_validate_json(self._path(instance_id).read_bytes())
        except FileNotFoundError:
            return None
        except ValidationError as error:
            # Not its text: that would quote the environment.
            problems = error.error_count()
            _log.warning("journal entry not understood", instance_id=instance_id, errors=problems)
            return None

    def forget(self, instance_id: str) -> None:
        target = self._path(instance_id)
        target.unlink(missing_ok=True)
        _aside(target).unlink(missing_ok=True)
        _mark(target).unlink(missing_ok=True)

    def all(self) -> Iterator[Entry]:
        """Every entry that can be read."""
        for path in sorted(self._root.glob("ins_*.json")):
            entry = self.find(path.stem)
            if entry is not None:
                yield entry

    def _path(self, instance_id: str) -> Path:
        return self._root / f"{instance_id}.json"


def _aside(target: Path) -> Path:
    return target.with_suffix(".new")


def _mark(target: Path) -> Path:
    return target.with_suffix(".attempted")
