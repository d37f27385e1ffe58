"""Vision-language models behind servers that speak OpenAI's protocol: vLLM, SGLang, llama.cpp, and services."""

import asyncio
import base64
import io
import os
import threading
from collections.abc import Iterable, Iterator
from concurrent.futures import FIRST_COMPLETED, Future, wait
from contextlib import contextmanager
from typing import Any

from absl import logging
from PIL import Image

from scenarioclip_jax.annotate.models.endpoints import PATIENCE, Endpoint, Endpoints
from scenarioclip_jax.annotate.models.language import LanguageModel, Question, Reply
from scenarioclip_jax.annotate.models.load import require
from scenarioclip_jax.annotate.models.photos import open_photo, shrink
from scenarioclip_jax.annotate.models.protocols import ModelError
from scenarioclip_jax.annotate.results import Cost, Failure, Photo
from scenarioclip_jax.annotate.settings import CaptionSettings

# The client itself tries again after 408, 409, 429, 5xx, a lost connection and a timeout; it waits longer each
# time, and as long as Retry-After says.
_RETRIES = 3
_AGAIN = (408, 409, 429)
# Servers that fail a request before it is given up. One that times out, and did so for each of the client's
# tries, isn't asked of another.
_TRIES = 2
# Seconds for the question whether a server is there.
_LOOK_SECONDS = 10.0
_QUALITY = 90


class ServerCaptioner(LanguageModel):
    """Asks servers at `settings.endpoints`.

    Each server has up to `settings.concurrent` requests on their way; as many photos are in memory. A server
    that stops answering is left out until it answers again, and its requests go to the others.

    Args:
      settings: Where the servers are, and what they are asked.
      patience: Seconds that all servers may be away.
      section: Where the settings stand, for messages.

    Raises:
      ModelError: The package openai isn't installed, or the environment variable with the key is empty.
    """

    def __init__(
        self, settings: CaptionSettings, patience: float = PATIENCE, section: str = "caption"
    ):
        super().__init__(settings)
        self._patience, self._section = patience, section
        self._openai = require("openai", settings.model)
        # A server without a key takes any, and the client wants one.
        self._key = "none"
        if settings.key_variable:
            self._key = os.environ.get(settings.key_variable, "")
            if not self._key:
                raise ModelError(
                    f"{section}.key_variable says that the servers' key is in the environment variable "
                    f"{settings.key_variable}, which is empty: export it, or leave the setting empty if they "
                    "ask for none"
                )

    def ask(self, questions: Iterable[Question]) -> Iterator[Reply]:
        """Asks questions; replies come as they arrive.

        Raises:
          ModelError: No server answers, they don't take the key, or don't have the model.
        """
        places = self._settings.concurrent * len(self._settings.endpoints)
        rest = iter(questions)
        clients = [self._client(address) for address in self._settings.endpoints]
        with _event_loop(clients) as loop:
            run = asyncio.run_coroutine_threadsafe
            endpoints = run(self._connect(clients), loop).result()
            on_their_way: set[Future[Reply]] = set()
            while True:
                while len(on_their_way) < places and (each := next(rest, None)) is not None:
                    on_their_way.add(run(self._answer(endpoints, each), loop))
                if not on_their_way:
                    return
                done, on_their_way = wait(on_their_way, return_when=FIRST_COMPLETED)
                for each in done:
                    yield each.result()

    async def _connect(self, clients: list[Any]) -> Endpoints:
        settings = self._settings
        found = [Endpoint(*each) for each in zip(settings.endpoints, clients, strict=True)]
        endpoints = Endpoints(found, settings.concurrent, self._is_there, self._patience)
        await endpoints.check(f"{self._section}.endpoints")
        return endpoints

    def _client(self, address: str) -> Any:
        return self._openai.AsyncOpenAI(
            base_url=address,
            api_key=self._key,
            timeout=self._settings.timeout,
            max_retries=_RETRIES,
        )

    async def _is_there(self, client: Any) -> bool:
        """Whether a server answers, whatever it says; what stands before it answers 5xx when it is away."""
        try:
            await client.with_options(timeout=_LOOK_SECONDS, max_retries=0).models.list()
        except self._openai.APIStatusError as error:
            return error.status_code < 500
        except self._openai.APIError:
            return False
        except ValueError:  # an answer that isn't JSON is one
            return True
        return True

    async def _answer(self, endpoints: Endpoints, question: Question) -> Reply:
        url = await asyncio.to_thread(self._data_url, question.photo)
        if isinstance(url, Failure):
            return Reply(question, url)
        failure, tries, last = Failure("refused", ""), 0, None
        while tries < _TRIES:
            async with endpoints.one(but=last) as last:
                try:
                    completion = await self._ask(last, question, url)
                except self._openai.APIStatusError as error:
                    self._stop_if_hopeless(last, error)
                    failure = Failure(f"http_{error.status_code}", self._said(last, error))
                    if error.status_code < 500 and error.status_code not in _AGAIN:
                        endpoints.worked(last)
                        return Reply(question, failure)
                except self._openai.APITimeoutError as error:
                    failure = Failure("timeout", self._said(last, error))
                except self._openai.APIConnectionError as error:
                    failure = Failure("connection", self._said(last, error))
                except (self._openai.APIError, ValueError) as error:
                    failure = Failure("wrong_protocol", self._said(last, error))
                else:
                    endpoints.worked(last)
                    return self._read(question, last, completion)
                if await endpoints.failed(last, failure.detail):
                    tries += _TRIES if failure.kind == "timeout" else 1
        return Reply(question, failure)

    def _data_url(self, photo: Photo) -> str | Failure:
        image = open_photo(photo)
        if isinstance(image, Failure):
            return image
        return data_url(shrink(image, self._settings.max_side))

    async def _ask(self, endpoint: Endpoint, question: Question, url: str) -> Any:
        """Asks a server with a JSON schema, if it takes one."""
        constrained = {
            "type": "json_schema",
            "json_schema": {"name": "scene", "strict": True, "schema": question.schema},
        }
        if not endpoint.constrained:
            return await self._complete(endpoint, question, url)
        try:
            return await self._complete(endpoint, question, url, response_format=constrained)
        except self._openai.APIStatusError as error:
            if error.status_code not in (400, 422):
                raise
            # The schema, or the photo? Without the schema it shows.
            completion = await self._complete(endpoint, question, url)
            if endpoint.constrained:
                endpoint.constrained = False
                logging.warning(
                    "%s takes no JSON schema, and is asked without: %s",
                    endpoint.address,
                    self._said(endpoint, error),
                )
            return completion

    async def _complete(
        self, endpoint: Endpoint, question: Question, url: str, **arguments: Any
    ) -> Any:
        content = [
            {"type": "image_url", "image_url": {"url": url}},
            {"type": "text", "text": question.prompt},
        ]
        return await endpoint.client.chat.completions.create(
            model=self._settings.model,
            messages=[{"role": "user", "content": content}],
            max_tokens=self._settings.max_tokens,
            temperature=0,
            **arguments,
        )

    def _read(self, question: Question, endpoint: Endpoint, completion: Any) -> Reply:
        usage = getattr(completion, "usage", None)
        cost = Cost(
            *(getattr(usage, f"{kind}_tokens", 0) or 0 for kind in ("prompt", "completion"))
        )
        choices = getattr(completion, "choices", None)
        if not choices or not getattr(choices[0], "message", None):
            detail = f"{endpoint.address}: an answer without choices: {str(completion)[:200]}"
            return Reply(question, Failure("wrong_protocol", detail), cost)
        choice = choices[0]
        refusal = getattr(choice.message, "refusal", None)
        if refusal or choice.finish_reason == "content_filter":
            detail = f"the model refuses: {refusal or 'its filter stopped the answer'}"
            return Reply(question, Failure("refused", detail), cost)
        result = question.read(choice.message.content or "", choice.finish_reason == "length")
        return Reply(question, result, cost)

    def _stop_if_hopeless(self, endpoint: Endpoint, error: Any) -> None:
        """What is wrong with every request ends the run."""
        said = self._said(endpoint, error)
        if error.status_code in (401, 403):
            variable = self._settings.key_variable
            remedy = (
                f"check the key in the environment variable {variable}"
                if variable
                else f"name the environment variable that holds the key in {self._section}.key_variable"
            )
            raise ModelError(f"{said}: the server doesn't take the key: {remedy}")
        if error.status_code == 404:
            raise ModelError(
                f"{said}: check {self._section}.model ({self._settings.model!r}), which has to be what the "
                f"server calls its model (GET {endpoint.address.rstrip('/')}/models), and that the address "
                "ends in /v1"
            )

    def _said(self, endpoint: Endpoint, error: Exception) -> str:
        """What happened at a server, without the key, which some repeat."""
        text = f"{type(error).__name__}: {error}"
        if error.__cause__ is not None:
            text += f" ({type(error.__cause__).__name__}: {error.__cause__})"
        if self._settings.key_variable:
            text = text.replace(self._key, "…")
        return f"{endpoint.address}: {text[:500]}"


def data_url(image: Image.Image) -> str:
    """A photo as a JPEG in an address."""
    file = io.BytesIO()
    image.save(file, "JPEG", quality=_QUALITY)
    return f"data:image/jpeg;base64,{base64.b64encode(file.getvalue()).decode('ascii')}"


@contextmanager
def _event_loop(clients: list[Any]) -> Iterator[asyncio.AbstractEventLoop]:
    """Runs an event loop in a thread. At the end what still runs is canceled, and clients are closed."""
    loop = asyncio.new_event_loop()
    thread = threading.Thread(target=loop.run_forever, name="requests", daemon=True)
    thread.start()
    try:
        yield loop
    finally:
        asyncio.run_coroutine_threadsafe(_end(clients), loop).result()
        loop.call_soon_threadsafe(loop.stop)
        thread.join()
        loop.close()


async def _end(clients: list[Any]) -> None:
    others = asyncio.all_tasks() - {asyncio.current_task()}
    for task in others:
        task.cancel()
    await asyncio.gather(*others, return_exceptions=True)
    for client in clients:
        await client.close()
    await asyncio.get_running_loop().shutdown_default_executor()
