"""Servers with TLS, and the authorities that vouch for them: made for one test, all on loopback."""

from collections.abc import Iterator
from contextlib import contextmanager
from datetime import UTC, datetime, timedelta
from ipaddress import IPv4Address
from pathlib import Path
from typing import NamedTuple
from urllib.parse import urlsplit

import pytest
from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.x509.oid import NameOID
from redis import Redis

from worker import embedded
from worker.embedded import Servers, running_servers


class Authority:
    """A self-signed one; `path` is its certificate."""

    def __init__(self, folder: Path, name: str) -> None:
        self._key = ec.generate_private_key(ec.SECP256R1())
        self._name = x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, name)])
        self.path = folder / f"{name}.pem"
        made = (
            _certificate(self._name, self._name, self._key.public_key())
            .add_extension(x509.BasicConstraints(ca=True, path_length=0), critical=True)
            .add_extension(_signs_certificates(), critical=True)
            .add_extension(x509.SubjectKeyIdentifier.from_public_key(self._key.public_key()), critical=False)
            .sign(self._key, hashes.SHA256())
        )
        self.path.write_bytes(made.public_bytes(serialization.Encoding.PEM))

    def vouch(self, *names: x509.GeneralName) -> tuple[Path, Path]:
        """Certificate and key of a server with these names."""
        key = ec.generate_private_key(ec.SECP256R1())
        certificate = (
            _certificate(x509.Name([]), self._name, key.public_key())
            .add_extension(x509.SubjectAlternativeName(names), critical=True)
            .add_extension(
                x509.AuthorityKeyIdentifier.from_issuer_public_key(self._key.public_key()), critical=False
            )
            .sign(self._key, hashes.SHA256())
        )
        paths = self.path.with_suffix(".server.crt"), self.path.with_suffix(".server.key")
        paths[0].write_bytes(certificate.public_bytes(serialization.Encoding.PEM))
        paths[1].write_bytes(
            key.private_bytes(
                serialization.Encoding.PEM, serialization.PrivateFormat.PKCS8, serialization.NoEncryption()
            )
        )
        return paths


class TlsServers(NamedTuple):
    """Servers whose certificates name 127.0.0.1 alone, and two authorities, one of which has vouched for them."""

    servers: Servers
    right: Path
    wrong: Path

    @property
    def redis_url(self) -> str:
        """Of the port with TLS."""
        return self.servers.redis_url.replace("redis://", "rediss://")


@contextmanager
def tls_servers(folder: Path) -> Iterator[TlsServers]:
    """Private servers that offer TLS (Redis: nothing else)."""
    right, wrong = Authority(folder, "right"), Authority(folder, "wrong")
    certificate, key = right.vouch(x509.IPAddress(IPv4Address(embedded.LOOPBACK)))
    only_mysql = embedded._only_mysql

    def with_tls(server: str, *options: str) -> list[str]:
        return [*only_mysql(server, *options), f"--ssl-cert={certificate}", f"--ssl-key={key}"]

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(embedded, "_only_mysql", with_tls)
        with running_servers(folder / "servers") as servers:
            with Redis.from_url(servers.redis_url) as redis:
                # Both ports at once cannot be the same number, so the plain one is closed first.
                redis.config_set(
                    "tls-cert-file", str(certificate), "tls-key-file", str(key), "tls-auth-clients", "no"
                )
                redis.config_set("port", 0, "tls-port", urlsplit(servers.redis_url).port)
            yield TlsServers(servers, right.path, wrong.path)


def _certificate(of: x509.Name, by: x509.Name, key: ec.EllipticCurvePublicKey) -> x509.CertificateBuilder:
    now = datetime.now(UTC)
    return (
        x509.CertificateBuilder()
        .subject_name(of)
        .issuer_name(by)
        .public_key(key)
        .serial_number(x509.random_serial_number())
        .not_valid_before(now - timedelta(days=1))
        .not_valid_after(now + timedelta(days=1))
    )


def _signs_certificates() -> x509.KeyUsage:
    return x509.KeyUsage(
        key_cert_sign=True, crl_sign=True, digital_signature=False, content_commitment=False,
        key_encipherment=False, data_encipherment=False, key_agreement=False, encipher_only=False,
        decipher_only=False,
    )  # fmt: skip
