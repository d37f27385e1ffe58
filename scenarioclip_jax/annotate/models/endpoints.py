"""Several servers of one model: which of them a request goes to, and which are left out for a while."""

import asyncio
import time
from collections.abc import AsyncIterator, Awaitable, Callable, Sequence
from contextlib import asynccontextmanager
from typing import Generic, TypeVar

from absl import logging

from scenarioclip_jax.annotate.models.protocols import ModelError

Client = TypeVar("Client")

# Seconds that all servers may be away: as long as one takes to start again.
PATIENCE = 120.0
# Seconds between looks at a server that is away, at first and at most.
_FIRST_LOOK, _LAST_LOOK = 1.0, 15.0
# A server that answers, but fails that many requests in a row, gets only one at a time; and if all do so, it
# isn't the photos' fault.
_SHAKY, _BROKEN = 3, 12


class Endpoint(Generic[Client]):
    """A server.

    Attributes:
      address: Where it is.
      client: What speaks to it.
      running: Requests on their way to it.
      failed: Requests that failed in a row.
      away_since: When it stopped answering, in seconds of the monotonic clock; None: it answers.
      constrained: Whether it takes a JSON schema for its answers.
    """

    def __init__(self, address: str, client: Client):
        self.address, self.client = address, client
        self.running = self.failed = 0
        self.away_since: float | None = None
        self.constrained = True


class Endpoints(Generic[Client]):
    """Gives requests to servers with free room. All methods belong to one event loop.

    Args:
      endpoints: The servers.
      concurrent: Most requests on their way to each.
      answers: Asks a server whether it is there.
      patience: Seconds that all may be away.
    """

    def __init__(
        self,
        endpoints: Sequence[Endpoint[Client]],
        concurrent: int,
        answers: Callable[[Client], Awaitable[bool]],
        patience: float = PATIENCE,
    ):
        self._all, self._concurrent = endpoints, concurrent
        self._answers, self._patience = answers, patience
        self._changed = asyncio.Condition()
        self._looking: set[asyncio.Task[None]] = set()
        self._last_error = ""
        self._gone = False

    async def check(self, setting: str) -> None:
        """Looks whether the servers are there, before anything is sent.

        Args:
          setting: The setting with their addresses, for the message.

        Raises:
          ModelError: None is.
        """
        found = await asyncio.gather(*(self._answers(each.client) for each in self._all))
        if not any(found):
            raise ModelError(
                f"no server answers at {self._addresses()}: start one there (`vllm serve MODEL`), or correct "
                f"the addresses in {setting}, which end in /v1"
            )
        for each, is_there in zip(self._all, found, strict=True):
            if not is_there:
                self._leave_out(each)

    @asynccontextmanager
    async def one(self, but: Endpoint[Client] | None = None) -> AsyncIterator[Endpoint[Client]]:
        """Waits for a server with free room, and holds a place there.

        Args:
          but: One that is taken only if all others are away.

        Raises:
          ModelError: No server answers any more.
        """
        async with self._changed:
            while not (free := self._free(but)):
                if self._gone:
                    raise self._error()
                await self._changed.wait()
            chosen = min(free, key=lambda each: each.running)
            chosen.running += 1
        try:
            yield chosen
        finally:
            chosen.running -= 1
            async with self._changed:
                self._changed.notify_all()

    def worked(self, endpoint: Endpoint[Client]) -> None:
        """Notes that a server answered a request."""
        endpoint.failed = 0

    async def failed(self, endpoint: Endpoint[Client], error: str) -> bool:
        """Notes that a server didn't do what it was asked; leaves it out if it isn't there any more.

        Returns:
          Whether it is there, so that the request may be at fault.

        Raises:
          ModelError: All servers fail, whatever they are asked.
        """
        self._last_error = error
        if endpoint.away_since is not None:
            return False
        if not await self._answers(endpoint.client):
            if endpoint.away_since is None:
                self._leave_out(endpoint)
            return False
        endpoint.failed += 1
        if all(each.failed >= _BROKEN or each.away_since is not None for each in self._all):
            raise ModelError(
                f"the servers at {self._addresses()} answer, but fail every request ({error}): look at their "
                "logs, start them again, and run this command again"
            )
        return True

    def _free(self, but: Endpoint[Client] | None) -> list[Endpoint[Client]]:
        there = [each for each in self._all if each.away_since is None]
        if len(there) > 1:
            there = [each for each in there if each is not but]
        return [
            each
            for each in there
            if each.running < (self._concurrent if each.failed < _SHAKY else 1)
        ]

    def _leave_out(self, endpoint: Endpoint[Client]) -> None:
        logging.warning("the server at %s doesn't answer; it is left out", endpoint.address)
        endpoint.away_since = time.monotonic()
        task = asyncio.get_running_loop().create_task(self._wait_for(endpoint))
        self._looking.add(task)
        task.add_done_callback(self._looking.discard)

    async def _wait_for(self, endpoint: Endpoint[Client]) -> None:
        """Looks whether a server is back, and whether all have been away for too long."""
        pause = _FIRST_LOOK
        while endpoint.away_since is not None:
            await asyncio.sleep(min(pause, self._patience))
            pause = min(2 * pause, _LAST_LOOK)
            if await self._answers(endpoint.client):
                logging.warning("the server at %s answers again", endpoint.address)
                endpoint.away_since, endpoint.failed = None, 0
            since = [each.away_since for each in self._all if each.away_since is not None]
            self._gone = (
                len(since) == len(self._all) and time.monotonic() - max(since) >= self._patience
            )
            async with self._changed:
                self._changed.notify_all()

    def _error(self) -> ModelError:
        reason = f" (last: {self._last_error})" if self._last_error else ""
        return ModelError(
            f"no server answers any more at {self._addresses()}{reason}: start one again, and run this command "
            "again; what is done stays done"
        )

    def _addresses(self) -> str:
        return ", ".join(each.address for each in self._all)
