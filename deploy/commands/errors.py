"""What a user can mend is one line on stderr and exit code 1, never a traceback."""

from collections.abc import Callable
from functools import wraps
from typing import Any, TypeVar

import click
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

T = TypeVar("T")
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


def clear_errors(command: Callable[..., T]) -> Callable[..., T]:
    """Turns the errors that name their own remedy into that one line."""

    @wraps(command)
    def run(*args: Any, **kwargs: Any) -> T:
        try:
            return command(*args, **kwargs)
        except _PLAIN as error:
            raise click.ClickException(str(error.args[0] if error.args else error)) from error
        except psycopg.OperationalError as error:
            raise click.ClickException(f"PostgreSQL: {str(error).splitlines()[0]}") from error
        except psycopg.errors.UndefinedTable as error:
            raise click.ClickException("the database has no Headwater schema yet: run `headwater migrate`") from error
        except psycopg.DataError as error:
            raise click.ClickException(f"PostgreSQL: {str(error).splitlines()[0]}") from error
        except (TimeoutError, Unavailable) as error:
            raise click.ClickException("Kafka does not answer") from error
        except PermanentDeliveryFailure as error:
            raise click.ClickException(f"Kafka refuses it for good: {error}") from error
        except KafkaException as error:
            raise click.ClickException(f"Kafka: {error.args[0].str()}") from error

    return run
