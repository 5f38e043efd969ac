"""Settings: environment variables `HEADWATER_*`. Each is explained in settings.reference.env beside this file."""

import json
import os
import secrets
from collections.abc import Callable, Mapping
from ipaddress import ip_network
from pathlib import Path
from typing import Any

from cryptography.fernet import Fernet
from platformdirs import user_data_path
from pydantic import BaseModel, ConfigDict, Field, ValidationError, field_validator, model_validator

from deploy.aside import write_private

_PREFIX = "HEADWATER_"
#: Written by whoever started embedded services, so that other commands find them.
RUNNING_FILE = "running.json"
#: Partitions that a topic can have, at most; origins of the next life of `tracks` begin there.
LINEAGE_PARTITIONS = 1000


_TO_KAFKA = ("kafka", "kafka_tls", "kafka_ca", "kafka_certificate", "kafka_key", "kafka_user", "kafka_password",
             "kafka_mechanism")  # fmt: skip


class SettingsError(ValueError):
    """A setting is wrong or missing. The message names it and says what it may be."""


class Settings(BaseModel):
    """One process's settings. `kafka` and `database_url` are empty where embedded services are to be used."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    data: Path = Field(default_factory=lambda: user_data_path("headwater"))
    kafka: str = ""
    kafka_tls: bool = False
    kafka_ca: str = ""
    kafka_certificate: str = ""
    kafka_key: str = ""
    kafka_user: str = ""
    kafka_password: str = ""
    kafka_mechanism: str = Field(default="SCRAM-SHA-512", pattern="^(PLAIN|SCRAM-SHA-256|SCRAM-SHA-512)$")
    database_url: str = ""
    kafka_port: int = Field(default=0, ge=0, le=65535)
    postgres_port: int = Field(default=0, ge=0, le=65535)
    http_host: str = "127.0.0.1"
    http_port: int = Field(default=8080, ge=0, le=65535)
    metrics_port: int = Field(default=0, ge=0, le=65535)
    topic_prefix: str = Field(default="", pattern=r"^[a-zA-Z0-9-]*$")
    partitions: int = Field(default=4, ge=1, le=1000)
    replication: int = Field(default=1, ge=1, le=10)
    lanes: int = Field(default=4, ge=1, le=256)
    lineage: int = Field(default=0, ge=0, le=2_000_000)
    session_timeout_s: int = Field(default=8, ge=1, le=300)
    identity_key: str = ""
    secrets_key: str = ""
    private_networks: str = ""
    archive_url: str = ""
    archive_seconds: float = Field(default=10, gt=0, le=600)
    geo_database: str = ""
    max_in_flight: int = Field(default=2000, ge=1)
    proxies: int = Field(default=0, ge=0, le=16)
    shared_door: str = ""
    failpoint: str = ""
    log_level: str = Field(default="INFO", pattern="^(DEBUG|INFO|WARNING|ERROR)$")
    log_format: str = Field(default="text", pattern="^(text|json)$")
    tls_certificate: str = ""
    tls_key: str = ""

    @model_validator(mode="after")
    def _key_length(self) -> "Settings":
        if self.identity_key and not 16 <= len(self.identity_key.encode()) <= 64:
            raise ValueError("identity_key has 16 to 64 bytes")
        return self

    @model_validator(mode="after")
    def _both_of_tls(self) -> "Settings":
        if bool(self.tls_certificate) != bool(self.tls_key):
            raise ValueError("tls_certificate and tls_key are set together, or not at all")
        return self

    @model_validator(mode="after")
    def _access_to_kafka(self) -> "Settings":
        if (self.kafka_ca or self.kafka_certificate) and not self.kafka_tls:
            raise ValueError("kafka_ca and kafka_certificate are for kafka_tls=true")
        if bool(self.kafka_user) != bool(self.kafka_password):
            raise ValueError("kafka_user and kafka_password are set together, or not at all")
        if (self.kafka_tls or self.kafka_user) and not self.kafka:
            raise ValueError("kafka_tls and kafka_user are for a Kafka of yours: set HEADWATER_KAFKA too")
        return self

    @field_validator("kafka_ca", "kafka_certificate", "kafka_key")
    @classmethod
    def _is_there(cls, given: str) -> str:
        if given and not Path(given).is_file():
            raise ValueError(f"there is no file {given}")
        return given

    @field_validator("database_url")
    @classmethod
    def _can_be_read(cls, given: str) -> str:
        if not given:
            return given
        import psycopg.conninfo  # takes time, which most commands can do without

        try:
            psycopg.conninfo.conninfo_to_dict(given)
        except psycopg.ProgrammingError:
            # Nothing of what it says: it repeats the URL, password and all.
            raise ValueError("it is no URL of PostgreSQL's: postgresql://user:password@host:5432/database") from None
        return given

    @field_validator("shared_door")
    @classmethod
    def _is_of_numbers(cls, given: str) -> str:
        if given and not given.endswith(".numbers"):
            raise ValueError("the file's name ends in .numbers")
        return given

    @field_validator("private_networks")
    @classmethod
    def _are_networks(cls, given: str) -> str:
        for network in filter(None, given.split(",")):
            ip_network(network.strip())
        return given

    @property
    def first_partition(self) -> int:
        """What the partitions of `tracks` are counted from in origins, so that two lives of the topic never mix."""
        return self.lineage * LINEAGE_PARTITIONS

    @property
    def door_url(self) -> str:
        """Where the door is, as its own machine reaches it."""
        host = f"[{self.http_host}]" if ":" in self.http_host else self.http_host
        return f"{'https' if self.tls_certificate else 'http'}://{host}:{self.http_port}"

    @property
    def running_file(self) -> Path:
        return self.data / RUNNING_FILE

    def archive(self) -> str:
        """Where the archive lies."""
        return self.archive_url or (self.data / "archive").absolute().as_uri()

    def environment(self) -> dict[str, str]:
        """These settings as variables, for a child process."""
        return {_PREFIX + name.upper(): str(value) for name, value in self.model_dump().items() if str(value)}


def load_settings(environment: Mapping[str, str] | None = None) -> Settings:
    """Settings from the environment; raises SettingsError."""
    environment = os.environ if environment is None else environment
    given = {
        name[len(_PREFIX) :].lower(): value
        for name, value in environment.items()
        if name.startswith(_PREFIX) and value != ""
    }
    try:
        return Settings.model_validate(given)
    except ValidationError as error:
        first = error.errors()[0]
        name = _PREFIX + str(first["loc"][0]).upper() if first["loc"] else _PREFIX + "*"
        problem = "there is no such setting" if first["type"] == "extra_forbidden" else first["msg"]
        raise SettingsError(f"{name}: {problem}") from error


def connected(settings: Settings) -> Settings:
    """The settings, the addresses of running embedded services filled in. Raises SettingsError if there are none."""
    found: dict[str, Any] = {}
    if settings.running_file.exists():
        found = _read_running(settings.running_file)
    is_set = "http_port" in settings.model_fields_set
    filled = settings.model_copy(
        update={
            **({} if settings.kafka else {name: found[name] for name in _TO_KAFKA if name in found}),
            "database_url": settings.database_url or found.get("database_url", ""),
            "http_port": settings.http_port if is_set else found.get("http_port", settings.http_port),
            **stored_keys(settings, make=False),
        }
    )
    if not filled.kafka or not filled.database_url:
        raise SettingsError(
            "nothing is running here: start `headwater up` (or `headwater services`), "
            "or set HEADWATER_KAFKA and HEADWATER_DATABASE_URL"
        )
    return filled


def _read_running(file: Path) -> dict[str, Any]:
    try:
        found = json.loads(file.read_text(encoding="utf-8"))
    except ValueError:
        found = None
    if not isinstance(found, dict):
        raise SettingsError(f"{file} cannot be read: remove it, and start `headwater up` or `services` again")
    return found


def stored_keys(settings: Settings, make: bool) -> dict[str, str]:
    """The keys that profile ids are minted with and secrets are sealed with: what is set, else what is kept in the data
    folder, made once where asked for."""
    makers: dict[str, Callable[[], str]] = {
        "identity_key": lambda: secrets.token_hex(24),
        "secrets_key": lambda: Fernet.generate_key().decode(),
    }
    return {name: getattr(settings, name) or _stored(settings.data, name, made, make) for name, made in makers.items()}


def _stored(data: Path, name: str, made: Callable[[], str], make: bool) -> str:
    path = data / f"{name.removesuffix('_key')}.key"
    if not path.exists() and make:
        write_private(path, made())
    return path.read_text(encoding="utf-8") if path.exists() else ""


def write_running(settings: Settings) -> None:
    """Tell other commands where the services are. The file holds their passwords: it is its owner's alone."""
    write_private(
        settings.running_file,
        json.dumps(
            {
                **{name: getattr(settings, name) for name in _TO_KAFKA},
                "database_url": settings.database_url,
                "http_port": settings.http_port,
            }
        ),
    )
