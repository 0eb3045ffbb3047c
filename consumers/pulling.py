"""Pulls several messages of a durable with one request, for handlers that take them together.

FastStream's batch subscriber would collect until its batch is full or its timeout is over; this
takes what is there. It waits for the first message, never for another.
"""

from __future__ import annotations

import asyncio
import contextlib
from typing import Any

import nats.errors
from nats.aio.client import Client
from nats.js import JetStreamContext

from consumers.binding import Bound, Together
from consumers.middleware import Settler
from events.cancellation import heeded
from events.nats_delivery import NatsDelivery
from zeitwork import clock, logs
from zeitwork.service import cancel, spawn

_log = logs.get(__name__)

_FETCH_SECONDS = 2.0  # a pull that a reconnect has lost is noticed after this long
_PAUSE_SECONDS = 0.25  # after an error; the guard makes anew what has disappeared


class Puller:
    """One unit of concurrency: pulls, has what came settled, and pulls again."""

    def __init__(self, client: Client, bound: Bound, settler: Settler) -> None:
        """Take a connection, and what is to be done with the messages.

        Raises:
            ValueError: the messages cannot be taken together.
        """
        if bound.together is None:
            raise ValueError(f"{bound.durable.name} takes its messages one by one")
        self._client = client
        self._bound = bound
        self._together: Together = bound.together
        self._settler = settler
        self._stopping = False
        self._waiting = False
        self._task: asyncio.Task[Any] | None = None

    def start(self) -> None:
        self._task = spawn(self._run(), f"pull-{self._bound.durable.name}")

    async def stop(self) -> None:
        """Ask for nothing more; what was begun comes to its end."""
        self._stopping = True
        if self._task is not None and self._waiting:
            await cancel(self._task)
        elif self._task is not None:
            try:
                await asyncio.wait({self._task})
            finally:
                await cancel(self._task)

    async def _run(self) -> None:
        while not self._stopping:
            try:
                await self._pull()
            except nats.errors.Error as error:
                _log.debug("not pulled", durable=self._bound.durable.name, error=str(error))
                await self._pause()
            except Exception:  # noqa: BLE001 - one that ended would leave the durable to itself
                _log.exception("puller failed", durable=self._bound.durable.name)
                await self._pause()

    async def _pull(self) -> None:
        """Until an error, or the stop."""
        durable = self._bound.durable
        jetstream = self._client.jetstream()
        source = await jetstream.pull_subscribe_bind(durable.name, durable.stream)
        try:
            while not self._stopping:
                messages = await self._fetch(source)
                if messages:
                    await self._settler.settle_several(messages, self._bound)
        finally:
            with contextlib.suppress(nats.errors.Error):
                await source.unsubscribe()

    async def _fetch(self, source: JetStreamContext.PullSubscription) -> list[NatsDelivery]:
        found: list[NatsDelivery] = []
        self._waiting = True
        try:
            with heeded():
                messages = await source.fetch(self._together.most, timeout=_FETCH_SECONDS)
                found = [NatsDelivery(message) for message in messages]
        except TimeoutError:  # of nats-py, or plain
            return []
        except asyncio.CancelledError:
            await self._settler.hand_back(found, self._bound.durable)
            raise
        finally:
            self._waiting = False
        return found

    async def _pause(self) -> None:
        self._waiting = True
        try:
            await clock.sleep(clock.jitter(_PAUSE_SECONDS))
        finally:
            self._waiting = False
