"""A Kafka that lets nobody in without TLS and a password, or a certificate, and whom it lets in do only what it was
allowed: every kind of client of ours gets in, with no more permissions than docs/production.md asks for."""

from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path

import pytest
from confluent_kafka.admin import (
    AclBinding,
    AclOperation,
    AclPermissionType,
    AdminClient,
    ResourcePatternType,
    ResourceType,
    ScramCredentialInfo,
    ScramMechanism,
    UserScramCredentialUpsertion,
)

from deploy.embedded.kafka import EmbeddedKafka
from deploy.embedded.postgres import EmbeddedPostgres
from deploy.embedded.process import HOST, usable_port
from deploy.settings import SettingsError, load_settings
from tests.kit.certificates import make_certificate
from tests.kit.definitions import SHOP, payload
from tests.kit.installation import ALL, Installation
from tests.kit.services import Services
from tests.kit.waiting import until

PASSWORD = "the password of a test, and of nothing else"
ORDER = {"order": {"discs": 1, "total": 2.5}, "customer": {"id": "c-1"}}


class _Secured(EmbeddedKafka):
    """Beside the listener without anything, which the test itself looks through: one that wants a password over TLS,
    and one that wants a certificate."""

    def __init__(self, folder: Path, certificate: Path, key: Path) -> None:
        super().__init__(folder, heap_mb=512, short_lived=True)
        self.by_password, self.by_certificate = (f"{HOST}:{usable_port(0)}" for _ in range(2))
        self._trusted, self._shown = certificate, folder.parent / "shown.pem"
        self._shown.write_text(key.read_text() + certificate.read_text())

    def _write_properties(self, file: str, controller: int, log_dirs: str) -> str:
        self._settings = {
            "listeners": f"PLAINTEXT://{self.address},CONTROLLER://{HOST}:{controller},PASSWORD://{self.by_password},"
            f"CERTIFICATE://{self.by_certificate}",
            "listener.security.protocol.map": "PLAINTEXT:PLAINTEXT,CONTROLLER:PLAINTEXT,"
            "PASSWORD:SASL_SSL,CERTIFICATE:SSL",
            "ssl.keystore.type": "PEM",
            "ssl.keystore.location": str(self._shown),
            "ssl.truststore.type": "PEM",
            "ssl.truststore.location": str(self._trusted),
            "listener.name.certificate.ssl.client.auth": "required",
            "sasl.enabled.mechanisms": "SCRAM-SHA-512",
            "authorizer.class.name": "org.apache.kafka.metadata.authorizer.StandardAuthorizer",
            "super.users": "User:ANONYMOUS;User:CN=door.example",
            "listener.name.password.scram-sha-512.sasl.jaas.config": (
                "org.apache.kafka.common.security.scram.ScramLoginModule required;"
            ),
        }
        return super()._write_properties(file, controller, log_dirs)


class _Services(Services):
    kafka: _Secured

    def __init__(self, folder: Path) -> None:
        self.certificate, self.key = make_certificate(folder)
        self.kafka = _Secured(folder / "kafka", self.certificate, self.key)
        self.postgres = EmbeddedPostgres(folder / "postgres")

    def start(self) -> None:
        super().start()
        user = UserScramCredentialUpsertion(
            "headwater", ScramCredentialInfo(ScramMechanism.SCRAM_SHA_512, 4096), PASSWORD.encode()
        )
        admin = AdminClient({"bootstrap.servers": self.kafka.address, "log_level": 0})
        admin.alter_user_scram_credentials([user])["headwater"].result(30)


@pytest.fixture(scope="module")
def secured(tmp_path_factory: pytest.TempPathFactory) -> Iterator[_Services]:
    with _Services(tmp_path_factory.mktemp("secured")).running() as started:
        yield started


#: What our user may do with what is called by our prefix: docs/production.md.
TOPICS = {ResourceType.TOPIC: ("CREATE", "DESCRIBE", "READ", "WRITE", "DELETE")}
ALLOWED = TOPICS | {ResourceType.GROUP: ("READ",), ResourceType.TRANSACTIONAL_ID: ("WRITE",)}


def allow(secured: _Services, prefix: str, allowed: Mapping[ResourceType, Sequence[str]]) -> None:
    admin = AdminClient({"bootstrap.servers": secured.kafka.address, "log_level": 0})
    bindings = [
        AclBinding(
            kind,
            prefix,
            ResourcePatternType.PREFIXED,
            "User:headwater",
            "*",
            AclOperation[operation],
            AclPermissionType.ALLOW,
        )
        for kind, operations in allowed.items()
        for operation in operations
    ]
    for made in admin.create_acls(bindings).values():
        made.result(30)


@pytest.fixture
def shop(secured: _Services, tmp_path: Path) -> Iterator[Installation]:
    installation = Installation(secured, tmp_path / "installation", SHOP)
    allow(secured, installation.prefix, ALLOWED)
    yield installation
    installation.close()


def by_password(secured: _Services, password: str = PASSWORD) -> dict[str, str]:
    return {
        "HEADWATER_KAFKA": secured.kafka.by_password,
        "HEADWATER_KAFKA_TLS": "true",
        "HEADWATER_KAFKA_CA": str(secured.certificate),
        "HEADWATER_KAFKA_USER": "headwater",
        "HEADWATER_KAFKA_PASSWORD": password,
    }


def by_certificate(secured: _Services) -> dict[str, str]:
    return {
        "HEADWATER_KAFKA": secured.kafka.by_certificate,
        "HEADWATER_KAFKA_TLS": "true",
        "HEADWATER_KAFKA_CA": str(secured.certificate),
        "HEADWATER_KAFKA_CERTIFICATE": str(secured.certificate),
        "HEADWATER_KAFKA_KEY": str(secured.key),
    }


def order(id: str) -> dict:
    return payload("shop", {"id": id, "type": "Order Completed", "properties": ORDER})


def test_with_a_certificate_door_and_stages_get_in(secured: _Services, shop: Installation) -> None:
    shop.start("ingest", "validate", **by_certificate(secured))
    shop.wait_ready()
    assert shop.track(order("e-1")).status_code == 200
    shop.wait_through(60, ["validate"])
    assert [event["id"] for event in shop.bodies("events-valid")] == ["e-1"]


def test_with_a_password_door_stages_and_commands_get_in_and_again_after_an_outage(
    secured: _Services, shop: Installation
) -> None:
    access = by_password(secured)
    stages = ALL
    shop.start("ingest", *stages, HEADWATER_ARCHIVE_SECONDS="1", **access)
    shop.wait_ready()
    assert shop.track(order("e-1")).status_code == 200
    shop.wait_through(120, stages)
    secured.kafka.kill()
    secured.kafka.start()
    until(lambda: shop.track(order("e-2")).status_code == 200, 60, shop.tell)
    shop.wait_through(120, stages)
    assert shop.one("select count(*) from events where id in ('e-1', 'e-2')") == 2
    assert shop.json("event", "e-2", **access)["recorded"][0]["state"] == "received"
    status = shop.json("status", **access)
    assert {stage["stage"]: stage["lag"] for stage in status["stages"] if stage["stage"] in stages} == dict.fromkeys(
        stages, 0
    )
    made = shop.command("topics", **access | {"HEADWATER_TOPIC_PREFIX": f"{shop.prefix}more-"})
    assert "created" in made.stdout, made.stderr
    profile = str(shop.one("select profile_id from events limit 1"))
    for command in (["erase", profile, "--yes"], ["erase", "--purge-topics"]):
        done = shop.command(*command, **access)
        assert done.returncode == 0, done.stderr


def test_who_may_not_do_what_it_must_is_told_so(secured: _Services, tmp_path: Path) -> None:
    shop, access = Installation(secured, tmp_path / "installation", SHOP), by_password(secured)
    try:
        shop.start("ingest", **access)
        until(lambda: "the definitions cannot be read yet" in shop.children["ingest"].output(), 30, shop.tell)
        assert "uthoriz" in shop.children["ingest"].output()
        allow(secured, shop.prefix, TOPICS)
        shop.wait_ready()
        shop.start("validate", **access)
        assert shop.children["validate"].wait(60) == 1
        assert "GroupAuthorizationFailedError" in shop.children["validate"].output()
    finally:
        shop.close()


def test_a_door_that_may_not_write_says_why_nothing_is_taken(secured: _Services, tmp_path: Path) -> None:
    shop, access = Installation(secured, tmp_path / "installation", SHOP), by_password(secured)
    try:
        allow(secured, shop.prefix, {ResourceType.TOPIC: ("DESCRIBE", "READ")})
        # Who may write nowhere gets no idempotent producer.
        allow(secured, f"{shop.prefix}elsewhere-", TOPICS)
        shop.start("ingest", **access)
        shop.wait_ready()
        assert [shop.track(order(id)).status_code for id in ("e-1", "e-2")] == [503, 503]
        assert shop.children["ingest"].output().count("TOPIC_AUTHORIZATION_FAILED") == 1
    finally:
        shop.close()


def test_who_has_the_wrong_password_is_told_so_and_the_password_is_nowhere(
    secured: _Services, shop: Installation
) -> None:
    wrong = by_password(secured, "wrong and secret")
    shop.start("ingest", "validate", **wrong)
    for child in (shop.children["ingest"], shop.children["validate"]):
        until(lambda child=child: "Kafka does not let us in" in child.output(), 60, shop.tell)
    said = shop.command("status", **wrong)
    assert said.returncode == 1, said
    assert "Kafka does not let us in" in said.stderr
    assert "wrong and secret" not in said.stderr + said.stdout + "".join(c.output() for c in shop.children.values())


@pytest.mark.parametrize(
    ("given", "says"),
    [
        ({"KAFKA_TLS": "true"}, "set HEADWATER_KAFKA too"),
        ({"KAFKA": "k:1", "KAFKA_USER": "a"}, "kafka_user and kafka_password are set together"),
        ({"KAFKA": "k:1", "KAFKA_TLS": "true", "KAFKA_CA": "/nowhere.pem"}, "there is no file /nowhere.pem"),
        ({"KAFKA": "k:1", "KAFKA_CERTIFICATE": __file__}, "for kafka_tls=true"),
        ({"KAFKA": "k:1", "KAFKA_MECHANISM": "GSSAPI"}, "HEADWATER_KAFKA_MECHANISM"),
    ],
)
def test_settings_that_cannot_be_meant_are_refused(given: dict[str, str], says: str) -> None:
    with pytest.raises(SettingsError, match=says):
        load_settings({f"HEADWATER_{name}": value for name, value in given.items()})
