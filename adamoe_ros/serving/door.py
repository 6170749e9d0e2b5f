# SPDX-License-Identifier: Apache-2.0
"""Where a server listens and who may come in; what its clients trust."""

from __future__ import annotations

import ipaddress
import ssl
import stat
from dataclasses import dataclass
from pathlib import Path

from adamoe_ros.contract.errors import ContractError, Problems, problem

_SHORTEST_TOKEN = 16  # characters


@dataclass(frozen=True)
class Door:
    """Who may come in.

    Attributes:
        host, port: to listen on; port 0: a free one.
        token: that a client has to send; empty: none.
        tls: certificate; None: not encrypted.
    """

    host: str = "127.0.0.1"
    port: int = 8000
    token: str = ""
    tls: ssl.SSLContext | None = None


def make_door(
    host: str,
    port: int,
    token_file: Path | None = None,
    certificate: Path | None = None,
    key: Path | None = None,
    insecure: bool = False,
) -> Door:
    """A door that is open to this computer alone, or locked, or open on purpose.

    Raises:
        ContractError: another address without token and certificate, or files that do not fit.
    """
    problems = Problems()
    if not _is_loopback(host) and not insecure and (token_file is None or certificate is None):
        expected = "--token-file and --certificate for an address that others can reach"
        lacks = [
            name
            for name, value in (("token", token_file), ("certificate", certificate))
            if not value
        ]
        do = "give them, or --insecure where nobody else is in the network"
        problems.add(f"--host {host}", expected, f"no {' and no '.join(lacks)}", do)
    if (certificate is None) != (key is None):
        problems.add("--certificate", "--key beside it", "one of them", "give both")
    token = problems.collect(lambda: read_token(token_file)) if token_file else ""
    tls = problems.collect(lambda: _context(certificate, key)) if certificate and key else None
    problems.raise_if_any()
    return Door(host, port, token or "", tls)


def read_token(path: Path) -> str:
    """The token in a file.

    Raises:
        ContractError: no file, one that others may read, or no token in it.
    """
    do = "write one with: (umask 077; openssl rand -hex 32 > FILE)"
    try:
        text = path.read_text(encoding="ascii").strip()
        others = path.stat().st_mode & (stat.S_IRWXG | stat.S_IRWXO)
    except (OSError, UnicodeDecodeError) as error:
        raise ContractError(problem(f"token file {path}", "a token", error, do)) from error
    if others:
        raise ContractError(
            problem(f"token file {path}", "mode 0600", "others may read it", f"chmod 600 {path}")
        )
    if len(text) < _SHORTEST_TOKEN or len(text.split()) != 1:
        expected = f"one word of at least {_SHORTEST_TOKEN} characters"
        raise ContractError(problem(f"token file {path}", expected, f"{len(text)}", do))
    return text


def _context(certificate: Path, key: Path) -> ssl.SSLContext:
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.minimum_version = ssl.TLSVersion.TLSv1_2
    # A ticket comes while a client with a reading thread (websockets.sync, openpi's) writes its first
    # request, and until Python 3.13 both share an unlocked SSL object: one request in a hundred was lost.
    context.num_tickets = 0
    try:
        context.load_cert_chain(certificate, key)
    except (OSError, ssl.SSLError) as error:
        where, do = f"certificate {certificate}", "give a PEM chain and its key"
        raise ContractError(problem(where, "a certificate and its key", error, do)) from error
    return context


def trust(authority: Path | None) -> ssl.SSLContext:
    """Of a client.

    Args:
        authority: PEM of who signed the server's certificate; None: the system's.

    Raises:
        ContractError: no PEM.
    """
    try:
        return ssl.create_default_context(cafile=authority)
    except (OSError, ssl.SSLError) as error:
        do = "give the PEM file of who signed the server's certificate"
        raise ContractError(problem(f"authority {authority}", "a PEM", error, do)) from error


def _is_loopback(host: str) -> bool:
    try:
        return ipaddress.ip_address(host).is_loopback
    except ValueError:
        return host == "localhost"
