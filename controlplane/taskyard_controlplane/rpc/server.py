"""The gRPC server: binds, says when it serves, and ends without cutting anybody off.

Invariant: no service answers before recovery is complete; health says SERVING exactly while it does.
"""

import asyncio
import logging
from collections.abc import Callable
from typing import Any

import grpc
import grpc.aio
from grpc_health.v1 import health, health_pb2, health_pb2_grpc

from taskyard_contract.programs.private_files import FILE_MODE
from taskyard_contract.transport.channels import SERVER_OPTIONS, unix_target
from taskyard_controlplane.rpc.addresses import AddressInUse, ensure_free, split_host_port, unix_path
from taskyard_controlplane.rpc.interceptors import ErrorInterceptor
from taskyard_controlplane.settings import RpcSettings

_log = logging.getLogger(__name__)


def _worth_telling(record: logging.LogRecord) -> bool:
    """Pass over calls that came in the moment in which the server stops, and were cut off before they began.

    gRPC reports these as errors of a servicer, with two tracebacks each. Their callers repeat them elsewhere.
    """
    return not (record.exc_info and isinstance(record.exc_info[1], asyncio.CancelledError))


class RpcServer:
    """A gRPC server and its health service."""

    def __init__(self, settings: RpcSettings) -> None:
        """Prepare a server; call from inside the event loop it will run on."""
        self._settings = settings
        logging.getLogger("grpc._cython.cygrpc").addFilter(_worth_telling)
        # In the order in which a call passes them. Errors come first, so that whatever stands behind (who
        # calls, whether he may) only has to raise.
        interceptors = [ErrorInterceptor()]
        self._server = grpc.aio.server(interceptors=interceptors, options=SERVER_OPTIONS)
        self._health = health.aio.HealthServicer()
        self._names: list[str] = [""]
        self._started = self._stopped = False
        self.address = settings.listen
        health_pb2_grpc.add_HealthServicer_to_server(self._health, self._server)

    def add(self, register: Callable[[Any, Any], None], service: Any, name: str) -> None:
        """Add a service.

        Args:
            register: The generated ``add_..._to_server``.
            service: Its implementation.
            name: Its full name, for health and reflection.
        """
        register(service, self._server)
        self._names.append(name)

    def bind(self) -> None:
        """Listen on the address; callers wait from here on, and are answered after `start`.

        Raises:
            AddressInUse: Another process listens there.
            ListenFailed: The address cannot be bound.
        """
        ensure_free(self._settings.listen)
        path = unix_path(self._settings.listen)
        target = self._settings.listen if path is None else unix_target(self._settings.listen)
        try:
            port = self._server.add_insecure_port(target)
        except RuntimeError:
            raise AddressInUse(f"another process just took {self._settings.listen}; try again") from None
        if path is not None:
            path.chmod(FILE_MODE)  # whoever can write a socket can connect to it
        else:
            host, _ = split_host_port(self._settings.listen)
            self.address = f"[{host}]:{port}" if ":" in host else f"{host}:{port}"
            self._warn_when_exposed(host)

    async def start(self) -> None:
        """Answer calls from here on, those that have waited since `bind` too."""
        if self._settings.reflection:
            self._describe_services()
        for name in self._names:
            await self._health.set(name, health_pb2.HealthCheckResponse.SERVING)
        await self._server.start()
        self._started = True

    async def stop(self) -> None:
        """Say NOT_SERVING, accept nothing new, give open calls their grace, then end them."""
        if self._stopped:
            return
        self._stopped = True
        await self._health.enter_graceful_shutdown()
        await self._server.stop(self._settings.stop_grace_seconds if self._started else 0)

    def _describe_services(self) -> None:
        # Imported here because the local yard does without it, and its start-up time counts.
        from grpc_reflection.v1alpha import reflection

        names = [*self._names[1:], health.SERVICE_NAME, reflection.SERVICE_NAME]
        reflection.enable_server_reflection(names, self._server)

    def _warn_when_exposed(self, host: str) -> None:
        if host not in ("localhost", "::1") and not host.startswith("127."):
            _log.warning(
                "listening on %s without authentication: whoever reaches it can run code on the agents",
                self.address,
            )
