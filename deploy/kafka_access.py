"""How our clients get into a Kafka that wants TLS, a certificate or a password."""

import logging
import ssl
from typing import Any

from confluent_kafka import KafkaError

from deploy.settings import Settings, SettingsError
from processors.runner.access import Access

log = logging.getLogger("headwater.kafka")


def librdkafka_access(settings: Settings) -> dict[str, Any]:
    """What a librdkafka client is told of it; nothing where Kafka wants nothing. The client logs that it is refused:
    to us that looks as if nobody answered."""
    if not settings.kafka_tls and not settings.kafka_user:
        return {}
    given = {
        "security.protocol": ("sasl_" if settings.kafka_user else "") + ("ssl" if settings.kafka_tls else "plaintext"),
        "ssl.ca.location": settings.kafka_ca,
        "ssl.certificate.location": settings.kafka_certificate,
        "ssl.key.location": settings.kafka_key,
        "sasl.mechanism": settings.kafka_mechanism if settings.kafka_user else "",
        "sasl.username": settings.kafka_user,
        "sasl.password": settings.kafka_password,
    }
    return {**{name: value for name, value in given.items() if value}, "error_cb": _refused}


def worker_access(settings: Settings) -> Access:
    """The same for a worker's consumer. Raises SettingsError for files that are no certificates."""
    context = _context(settings) if settings.kafka_tls else None
    return Access(context, settings.kafka_user, settings.kafka_password, settings.kafka_mechanism)


def _context(settings: Settings) -> ssl.SSLContext:
    try:
        context = ssl.create_default_context(cafile=settings.kafka_ca or None)
        if settings.kafka_certificate:
            context.load_cert_chain(settings.kafka_certificate, settings.kafka_key or None)
    except OSError as error:
        raise SettingsError(
            f"HEADWATER_KAFKA_CA, _CERTIFICATE and _KEY cannot be used: {error.strerror or error}"
        ) from error
    return context


def _refused(error: KafkaError) -> None:
    if error.code() in (KafkaError._AUTHENTICATION, KafkaError._SSL):
        log.error("Kafka does not let us in: %s", error.str())
