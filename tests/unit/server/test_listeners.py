"""Binding: what is tolerated, and what is refused in one sentence."""

from __future__ import annotations

import socket

import pytest

from storage.serving import listeners


def bind(*hosts: str, port: int = 0, workers: int = 2) -> listeners.Listeners:
    return listeners.bind([(host, port) for host in hosts], [("127.0.0.1", 0)], workers)


def port_of(bound: listeners.Listeners) -> int:
    return int(bound.s3[0][0].getsockname()[1])


def test_every_worker_has_sockets_on_the_same_port() -> None:
    bound = bind("127.0.0.1", "127.0.0.2", workers=3)
    try:
        names = [[sock.getsockname() for sock in group] for group in bound.s3]
        port = port_of(bound)
        assert names == [[("127.0.0.1", port), ("127.0.0.2", port)]] * 3
    finally:
        bound.close()


@pytest.mark.parametrize("workers", [1, 2])
def test_a_port_of_another_store_is_taken(workers: int) -> None:
    bound = bind("127.0.0.1", workers=2)
    try:
        with pytest.raises(listeners.BindRefused, match=r"in use.*OVERSIGHT_ADDRESS"):
            bind("127.0.0.1", port=port_of(bound), workers=workers)
    finally:
        bound.close()
    bind("127.0.0.1", port=port_of_closed(), workers=workers).close()


def port_of_closed() -> int:
    with socket.create_server(("127.0.0.1", 0)) as probe:
        return int(probe.getsockname()[1])


def test_a_missing_ipv6_is_tolerated(monkeypatch: pytest.MonkeyPatch) -> None:
    real = socket.socket

    def without_ipv6(family: int, *arguments: int, **more: int) -> socket.socket:
        if family == socket.AF_INET6:
            raise OSError(97, "Address family not supported by protocol")
        return real(family, *arguments, **more)

    monkeypatch.setattr(listeners.socket, "socket", without_ipv6)
    bound = bind("127.0.0.1", "::1")
    bound.close()
    assert len(bound.s3[0]) == 1
    with pytest.raises(listeners.BindRefused):
        bind("::1")


def test_an_address_of_another_machine_is_refused() -> None:
    with pytest.raises(listeners.BindRefused, match=r"192\.0\.2\.1.*OVERSIGHT_ADDRESS"):
        bind("192.0.2.1", port=1024)


def test_nothing_stays_bound_after_a_refusal() -> None:
    with socket.create_server(("127.0.0.1", 0)) as holder:
        port = port_of_closed()
        console = ("127.0.0.1", holder.getsockname()[1])
        with pytest.raises(listeners.BindRefused, match="console"):
            listeners.bind([("127.0.0.1", port)], [console], 2)
        socket.create_server(("127.0.0.1", port)).close()
