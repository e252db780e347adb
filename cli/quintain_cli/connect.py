"""Finds the services a command needs: given addresses, the running local stack, or an embedded one."""

from __future__ import annotations

import os
import queue
import threading
from collections.abc import Iterator
from contextlib import ExitStack
from functools import cached_property
from pathlib import Path
from types import TracebackType
from typing import TypeVar

import grpc
from pydantic import SecretStr

from quintain.clients.channel import ClientSettings, ClientTls, channel_arguments
from quintain.clients.controller import Controller
from quintain.clients.generator import Generator
from quintain.clients.verifier import Verifier
from quintain.errors import InvalidArgument, Unavailable
from quintain_cli.render import errors, show_retries
from quintain_cli.stack import state
from quintain_cli.stack.stack import SERVICES, Stack
from quintain_cli.target import Target, token

T = TypeVar("T")

FOREVER_SECONDS = 365 * 24 * 3600.0  # a deadline for streams that last as long as a search
_ANSWER_SECONDS = 60.0  # a deadline for everything else
_REACH_SECONDS = 10.0
_CHECK_SECONDS = 0.5


class Connection:
    """Clients of the services that a command needs. The first one needed is what ``--address`` means.

    An embedded controller goes on with interrupted searches, and spends, only for a command that `runs_searches`.
    """

    def __init__(self, target: Target, *needs: str, runs_searches: bool = False) -> None:
        self._target = target
        self._needs = needs
        self._controller_settings = {} if runs_searches else {"runner.max_searches": "0"}
        self._exit = ExitStack()
        self._stack: Stack | None = None
        self.addresses: dict[str, str] = {}

    def __enter__(self) -> Connection:
        show_retries()
        self.addresses = self._known()
        missing = [service for service in self._needs if service not in self.addresses]
        for service in self._needs:
            if service in self.addresses:
                self._reach(service)
        if missing:
            wanted = [s for s in SERVICES if s not in self.addresses] if "controller" in missing else missing
            self._stack = Stack(
                wanted,
                data=self._target.data_dir,
                addresses=self.addresses,
                controller_settings=self._controller_settings,
            )
            with errors.status("starting an embedded stack"):
                self._exit.enter_context(self._stack)
            self.addresses = self._stack.addresses
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._exit.__exit__(kind, error, trace)

    @property
    def embedded(self) -> bool:
        """Whether some service runs only as long as this command."""
        return self._stack is not None

    @cached_property
    def controller(self) -> Controller:
        return self._exit.enter_context(Controller(self.settings("controller")))

    @cached_property
    def verifier(self) -> Verifier:
        return self._exit.enter_context(Verifier(self.settings("verifier")))

    @cached_property
    def generator(self) -> Generator:
        return self._exit.enter_context(Generator(self.settings("generator")))

    def follow(self, stream: Iterator[T]) -> Iterator[T | None]:
        """The items of a stream as they come, and None twice a second in between. Raises what the stream raises, and
        StackError when an embedded service dies, so that nobody waits for a dead one."""
        items: queue.Queue[tuple[T | None, BaseException | None]] = queue.Queue()

        def read() -> None:
            try:
                for item in stream:
                    items.put((item, None))
                items.put((None, StopIteration()))
            except BaseException as error:  # noqa: BLE001  # handed to the main thread, which raises it
                items.put((None, error))

        threading.Thread(target=read, daemon=True).start()
        while True:
            try:
                item, error = items.get(timeout=_CHECK_SECONDS)
            except queue.Empty:
                if self._stack is not None:
                    self._stack.check()
                yield None
                continue
            if isinstance(error, StopIteration):
                return
            if error is not None:
                raise error
            yield item

    def _known(self) -> dict[str, str]:
        local = state.running_addresses(self._target.data_dir)
        known = {}
        for service in SERVICES:
            address = os.environ.get(f"QUINTAIN_{service.upper()}") or local.get(service)
            if address:
                known[service] = address
        if self._target.address:
            known[self._needs[0]] = self._target.address
        return known

    def settings(self, service: str) -> ClientSettings:
        """How to reach a service. An embedded one is on loopback, without TLS or token."""
        if self._stack is not None and self._stack.runs(service):
            return ClientSettings(address=self.addresses[service], timeout_seconds=_ANSWER_SECONDS, caller="cli")
        return client_settings(self._target, self.addresses[service])

    def _reach(self, service: str) -> None:
        """Fail soon and clearly if nothing answers at an address, before any call begins to retry."""
        settings = self.settings(service)
        host, _, port = settings.address.rpartition(":")
        if not host or not port.isdigit():
            raise InvalidArgument.of("address", f"{settings.address!r} is not host:port (say, localhost:7102)")
        target, options, credentials = channel_arguments(settings)
        channel = (
            grpc.secure_channel(target, credentials, options) if credentials else grpc.insecure_channel(target, options)
        )
        try:
            grpc.channel_ready_future(channel).result(_REACH_SECONDS)
        except grpc.FutureTimeoutError:
            raise Unavailable(f"no {service} answers at {settings.address}") from None
        finally:
            channel.close()


def client_settings(target: Target, address: str) -> ClientSettings:
    """Settings for a service elsewhere, with the token and the TLS that the shared options say."""
    tls = None
    if target.ca_file or target.certificate_file:
        ca = None if target.ca_file == Path("system") else target.ca_file
        tls = ClientTls(ca_file=ca, certificate_file=target.certificate_file, key_file=target.key_file)
    secret = token(target)
    return ClientSettings(
        address=address,
        token=SecretStr(secret) if secret else None,
        tls=tls,
        timeout_seconds=_ANSWER_SECONDS,
        caller="cli",
    )
