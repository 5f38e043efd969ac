"""What a user can mend, and the one line that says how."""

from pathlib import Path

import psycopg
from confluent_kafka import KafkaException

from deploy.demo import DemoError
from deploy.embedded.process import EmbeddedError
from deploy.operations.draining import StuckError
from deploy.operations.merging import MergingError
from deploy.operations.recovery import RecoveryError
from deploy.operations.rehearsing import RehearsalError
from deploy.operations.repairing import RepairError
from deploy.operations.replay_job import ReplayError
from deploy.operations.scaffolding import ScaffoldError
from deploy.settings import SettingsError
from processors.connectors.geo import GeoError
from processors.runner.failures import Unavailable
from processors.runner.publisher import PermanentDeliveryFailure
from workflows.definitions import DefinitionError

_PLAIN = (
    SettingsError,
    DefinitionError,
    EmbeddedError,
    GeoError,
    DemoError,
    RecoveryError,
    RehearsalError,
    ScaffoldError,
    RepairError,
    ReplayError,
    StuckError,
    LookupError,
    MergingError,
)


def remedy(error: Exception) -> str | None:
    """The line; None for an error that is a defect of ours."""
    match error:
        case psycopg.errors.UndefinedTable():
            return "the database has no Headwater schema yet: run `headwater migrate`"
        case psycopg.OperationalError() | psycopg.DataError():
            return f"PostgreSQL: {str(error).splitlines()[0]}"
        case TimeoutError() | Unavailable():
            return "Kafka does not answer"
        case PermanentDeliveryFailure():
            return f"Kafka refuses it for good: {error}"
        case KafkaException():
            return f"Kafka: {error.args[0].str()}"
        case OSError(filename=str() | Path() as file):
            return f"cannot use {file}: {error.strerror}"
    return str(error.args[0] if error.args else error) if isinstance(error, _PLAIN) else None
