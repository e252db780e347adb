"""Finds the services a command needs: given addresses, the running local stack, the embedded stack of another command
on the same data, or one of its own."""

from __future__ import annotations

import os
import queue
import threading
import time
from collections.abc import Iterator
from contextlib import ExitStack
from enum import Enum
from functools import cached_property
from pathlib import Path
from types import TracebackType
from typing import TYPE_CHECKING, TypeVar

from quintain.errors import InvalidArgument, Unavailable
from quintain_cli.render import show_retries
from quintain_cli.stack import paths, sharing, state
from quintain_cli.stack.service_process import StackError, health
from quintain_cli.stack.stack import SERVICES, Stack
from quintain_cli.target import Target, token
from quintain_cli.waiting import WaitingLine

if TYPE_CHECKING:  # gRPC takes a while to load: services that must be started are started before
    from quintain.clients.channel import ClientSettings
    from quintain.clients.controller import Controller
    from quintain.clients.generator import Generator
    from quintain.clients.verifier import Verifier

T = TypeVar("T")

FOREVER_SECONDS = 365 * 24 * 3600.0  # a deadline for streams that last as long as a search
_ANSWER_SECONDS = 60.0  # a deadline for everything else
_REACH_SECONDS = 5.0
_CHECK_SECONDS = 0.5
_HEALTH_SECONDS = 5.0
_RETRY_SECONDS = 0.1
_GONE_SECONDS = 120.0  # a service that is restarted is back by then
NOT_READY = {
    "controller": "the controller is not ready: its database cannot be used (is the disk full?), or it is stopping",
    "verifier": "the verifier is not ready: it has no worker, its disk is full, or it is stopping",
    "generator": "the generator is not ready: its database cannot be used (is the disk full?), or it is stopping",
}


class Embedded(Enum):
    """What an embedded controller is for, if one has to be started."""

    READS = "reads"  # the store alone: it asks no other service
    SETTLES = "settles"  # what was sent for searches that have ended
    RUNS = "runs"  # searches, also those that were interrupted; it spends


class Connection:
    """Clients of the services that a command needs. The first one needed is what ``--address`` means. With `ready`
    false, services that this command starts need only answer; with `start` false it starts none."""

    def __init__(
        self, target: Target, *needs: str, embedded: Embedded = Embedded.READS, ready: bool = True, start: bool = True
    ) -> None:
        self._target = target
        self._needs = needs
        self._embedded = embedded
        self._ready = ready
        self._start = start
        self._exit = ExitStack()
        self._stack: Stack | None = None
        self._shared: state.StackRecord | None = None
        self.addresses: dict[str, str] = {}
        self.trouble = ""  # why the service that is followed cannot work now, if it cannot

    def __enter__(self) -> Connection:
        show_retries()
        self.addresses = self._known()
        given = [service for service in self._needs if service in self.addresses]
        try:
            if len(given) < len(self._needs):
                self._find_or_start()
            for service in given:
                self._reach(service)
        except BaseException:
            self._exit.close()
            raise
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._exit.__exit__(kind, error, trace)

    @property
    def embedded(self) -> bool:
        """Whether some service runs only as long as this command or another one."""
        return self._stack is not None or self._shared is not None

    @property
    def alone(self) -> bool:
        """Whether some service runs only as long as this command."""
        return self._stack is not None

    @cached_property
    def controller(self) -> Controller:
        from quintain.clients.controller import Controller

        return self._exit.enter_context(Controller(self.settings("controller")))

    @cached_property
    def verifier(self) -> Verifier:
        from quintain.clients.verifier import Verifier

        return self._exit.enter_context(Verifier(self.settings("verifier")))

    @cached_property
    def generator(self) -> Generator:
        from quintain.clients.generator import Generator

        return self._exit.enter_context(Generator(self.settings("generator")))

    def follow(self, stream: Iterator[T], service: str = "controller") -> Iterator[T | None]:
        """The items of a service's stream as they come, and None twice a second in between. So that nobody waits for a
        dead one, StackError is raised when an embedded service dies, and Unavailable when the service has not answered
        for two minutes."""
        items: queue.Queue[tuple[T | None, BaseException | None]] = queue.Queue()

        def read() -> None:
            try:
                for item in stream:
                    items.put((item, None))
                items.put((None, StopIteration()))
            except BaseException as error:  # noqa: BLE001  # handed to the main thread, which raises it
                items.put((None, error))

        threading.Thread(target=read, daemon=True).start()
        looked = answered = time.monotonic()
        while True:
            try:
                item, error = items.get(timeout=_CHECK_SECONDS)
            except queue.Empty:
                self._check()
                if time.monotonic() - looked > _HEALTH_SECONDS:
                    answers = self._look_at(service)
                    looked = time.monotonic()
                    answered = looked if answers else answered
                    if looked - answered > _GONE_SECONDS:
                        raise Unavailable(self.trouble) from None
                yield None
                continue
            if isinstance(error, StopIteration):
                return
            if error is not None:
                raise error
            yield item

    def _check(self) -> None:
        if self._stack is not None:
            self._stack.check()
        if self._shared is not None and not self._shared.alive():
            raise StackError("the command whose services were used here has ended")

    def _look_at(self, service: str) -> bool:
        """Whether it answers, ready or not; what is wrong goes into `trouble`."""
        try:
            self._reach(service)
        except Unavailable as gone:
            self.trouble = gone.message
            return False
        plain = not (self._target.ca_file or self._target.certificate_file)  # health is asked without TLS
        self.trouble = NOT_READY[service] if plain and health(self.addresses[service]) is False else ""
        return True

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

    def _find_or_start(self) -> None:
        data = self._target.data_dir or paths.data_dir()
        whole = "controller" not in self.addresses and self._embedded is not Embedded.READS
        ownership = self._use_or_own(data) if whole else None
        if not whole:
            self._use_running(data)
        missing = [service for service in (SERVICES if whole else self._needs) if service not in self.addresses]
        if not missing:
            return
        if not self._start:
            raise Unavailable(f"no {missing[0]} is running")
        if ownership is not None:
            self._exit.callback(ownership.close)
        runs = self._embedded is Embedded.RUNS
        self._stack = Stack(
            missing,
            data=data,
            addresses=self.addresses,
            controller_settings={} if runs else {"runner.max_searches": "0"},
            ready=self._ready,
        )
        self._exit.enter_context(self._stack)
        self.addresses = self._stack.addresses
        if ownership is not None:
            ownership.announce({service: self.addresses[service] for service in missing})
            self._exit.callback(ownership.wait_for_users)

    def _use_or_own(self, data: Path) -> sharing.StackOwnership | None:
        """The right to start a stack on the data; None if another command's is used."""
        with WaitingLine("another command is starting or stopping services on this data folder"):
            while not self._use_running(data):
                ownership = sharing.own(data)
                if ownership is not None:
                    return ownership
                time.sleep(_RETRY_SECONDS)
        return None

    def _use_running(self, data: Path) -> bool:
        """Whether another command runs an embedded stack on the data; its services are used from now on."""
        use = sharing.use_running(data)
        if use is not None:
            self._exit.callback(use.close)
            self._shared = use.record
            self.addresses = {**use.record.addresses, **self.addresses}
        return use is not None

    def settings(self, service: str) -> ClientSettings:
        """How to reach a service. An embedded one is on loopback, without TLS or token."""
        from quintain.clients.channel import ClientSettings

        address = self.addresses[service]
        own = self._stack is not None and self._stack.runs(service)
        shared = self._shared is not None and self._shared.addresses.get(service) == address
        if own or shared:
            return ClientSettings(address=address, timeout_seconds=_ANSWER_SECONDS, caller="cli")
        return client_settings(self._target, address)

    def _reach(self, service: str) -> None:
        """Fail soon and clearly if nothing answers at an address, before any call begins to retry."""
        import grpc

        from quintain.clients.channel import channel_arguments

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


def is_running(target: Target, service: str) -> bool:
    """Whether a command would find the service, and start none."""
    if target.address or os.environ.get(f"QUINTAIN_{service.upper()}"):
        return True
    use = sharing.use_running(target.data_dir or paths.data_dir())
    if use is not None:
        use.close()
        return True
    return service in state.running_addresses(target.data_dir)


def client_settings(target: Target, address: str) -> ClientSettings:
    """Settings for a service elsewhere, with the token and the TLS that the shared options say."""
    from pydantic import SecretStr

    from quintain.clients.channel import ClientSettings, ClientTls

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
