"""The door with a certificate: TLS, and nothing else."""

import socket
import ssl
from pathlib import Path

import httpx
import pytest

from deploy.settings import SettingsError, load_settings
from tests.conftest import MakeInstallation
from tests.kit.certificates import make_certificate
from tests.kit.definitions import payload
from tests.kit.installation import Installation
from tests.kit.waiting import until


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    made = tmp_path_factory.mktemp("certificate")
    make_certificate(made)
    return made


@pytest.fixture(scope="module")
def door(make_shared_installation: MakeInstallation, folder: Path) -> Installation:
    installation = make_shared_installation(
        "{kind: source, id: shop}",
        forked=True,
        tls_certificate=str(folder / "certificate.pem"),
        tls_key=str(folder / "key.pem"),
    )
    installation.start("ingest")
    until(lambda: is_ready(installation, folder), 30, installation.tell)
    return installation


def trusting(folder: Path) -> ssl.SSLContext:
    """A client that trusts the door's certificate, and no other."""
    return ssl.create_default_context(cafile=str(folder / "certificate.pem"))


def is_ready(door: Installation, folder: Path) -> bool:
    try:
        return httpx.get(f"https://127.0.0.1:{door.port}/ready", verify=trusting(folder), trust_env=False).is_success
    except httpx.TransportError:
        return False


def test_payloads_are_taken_over_tls_1_3(door: Installation, folder: Path) -> None:
    with httpx.Client(verify=trusting(folder), trust_env=False) as client:
        answer = client.post(
            f"https://127.0.0.1:{door.port}/track", json=payload("shop", {"type": "page-view", "id": "encrypted"})
        )
    assert (answer.status_code, answer.json()["events"][0]["id"]) == (200, "encrypted")
    with (
        socket.create_connection(("127.0.0.1", door.port), timeout=10) as plain,
        trusting(folder).wrap_socket(plain, server_hostname="127.0.0.1") as encrypted,
    ):
        assert encrypted.version() == "TLSv1.3"
        assert encrypted.getpeercert(binary_form=True) == ssl.PEM_cert_to_DER_cert(
            (folder / "certificate.pem").read_text()
        )
    assert any(b"encrypted" in (message.value() or b"") for message in door.records("tracks"))


def test_what_speaks_no_tls_or_trusts_another_certificate_gets_no_answer(door: Installation, folder: Path) -> None:
    before = sum(door.ends(["tracks"]).values())
    sent = payload("shop", {"type": "page-view"})
    with pytest.raises(httpx.TransportError):
        httpx.post(f"http://127.0.0.1:{door.port}/track", json=sent, trust_env=False)
    with pytest.raises(httpx.ConnectError, match="certificate verify failed"):
        httpx.post(f"https://127.0.0.1:{door.port}/track", json=sent, trust_env=False)
    assert sum(door.ends(["tracks"]).values()) == before
    assert is_ready(door, folder)


def test_older_versions_of_tls_are_refused(door: Installation, folder: Path) -> None:
    context = trusting(folder)
    context.maximum_version = ssl.TLSVersion.TLSv1_2
    with (
        socket.create_connection(("127.0.0.1", door.port), timeout=10) as plain,
        pytest.raises((ssl.SSLError, ConnectionError)),
    ):
        context.wrap_socket(plain, server_hostname="127.0.0.1")


@pytest.mark.parametrize("set_alone", ["TLS_CERTIFICATE", "TLS_KEY"])
def test_a_certificate_and_its_key_are_set_together(set_alone: str) -> None:
    with pytest.raises(SettingsError, match="tls_certificate and tls_key"):
        load_settings({f"HEADWATER_{set_alone}": "door.pem"})


@pytest.mark.parametrize(
    ("certificate", "key", "says"),
    [
        ("certificate.pem", "", "tls_key"),
        ("nothing.pem", "key.pem", "certificate"),
        ("certificate.pem", "empty.pem", "key"),
    ],
)
def test_a_door_that_cannot_use_its_certificate_says_why_in_one_line(
    door: Installation, folder: Path, certificate: str, key: str, says: str
) -> None:
    (folder / "empty.pem").write_text("")
    files = {"CERTIFICATE": certificate, "KEY": key}
    more = {f"HEADWATER_TLS_{name}": str(folder / file) if file else "" for name, file in files.items()}
    done = door.command("ingest", HEADWATER_HTTP_PORT="0", **more)
    assert (done.returncode, done.stdout, done.stderr.count("\n")) == (1, "", 1)
    assert done.stderr.startswith("Error: ")
    assert says in done.stderr.lower()
