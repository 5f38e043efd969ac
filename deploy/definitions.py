"""`headwater apply`: definitions from YAML files into PostgreSQL and the topic `config`, the difference shown first."""

import asyncio
import difflib
from collections.abc import Iterable, Mapping
from contextlib import closing
from itertools import chain
from pathlib import Path
from typing import Any

import msgspec
import yaml
from pydantic import ValidationError

from deploy.feed import Published
from deploy.kafka import KafkaAdmin, client_config, kafka_admin
from deploy.operator_name import operator_name
from deploy.records import read
from deploy.sealing import Seals
from deploy.settings import Settings
from processors.connectors.plugin import load_plugins, problem
from processors.connectors.topic import wrong_topic
from processors.runner.publisher import Publisher
from processors.storage.database import Connection
from processors.storage.definitions import DefinitionStore
from schemas.codecs import Message
from schemas.definitions import DEFINITION, WRITTEN, AnyDefinition
from schemas.definitions.inbound import Source
from schemas.definitions.outbound import Destination
from schemas.definitions.predefined import Predefined
from schemas.topics import CONFIG, destination_topic
from workflows.actions.builtin import load_actions
from workflows.definitions import DefinitionError, Definitions
from workflows.list_traits import contradicting
from workflows.lookup import private_lookups
from workflows.private import private_sent
from workflows.references import dangling
from workflows.signatures import signed

#: What commands say, and no file does.
OPERATORS = ("pause/", "write-key/")
Change = dict[str, dict[str, Any] | None]


def read_folder(folder: Path) -> dict[str, AnyDefinition]:
    """The definitions in all YAML files below the folder, by key. What they refer to may be in force already.

    Raises DefinitionError, naming file and field.
    """
    if not folder.is_dir():
        raise DefinitionError(f"{folder} is not a folder")
    found: dict[str, AnyDefinition] = {}
    predefined: list[Predefined] = []
    for path in sorted([*folder.rglob("*.yaml"), *folder.rglob("*.yml")]):
        for document in _documents(path):
            definition = _definition(document, path)
            if isinstance(definition, Predefined):
                predefined.append(definition)
                continue
            if definition.key in found:
                raise DefinitionError(f"{path}: {definition.key} is defined twice")
            found[definition.key] = definition
    for group in predefined:
        try:
            for definition in group.definitions():
                found.setdefault(definition.key, definition)
        except LookupError as error:
            raise DefinitionError(str(error.args[0])) from error
    _check_types(Definitions(found.values(), load_actions()))
    if wrong := contradicting(found):
        raise DefinitionError(wrong[0])
    return found


def require_whole(definitions: Mapping[str, AnyDefinition]) -> None:
    """Raises DefinitionError where one refers to what is not among them, or two contradict each other."""
    if wrong := dangling(definitions) + contradicting(definitions):
        raise DefinitionError(wrong[0])


def _check_types(definitions: Definitions) -> None:
    plugins = load_plugins()
    for destination in definitions.destinations.values():
        is_ours = destination.type in ("webhook", "postgresql", "kafka")
        wrong = wrong_topic(destination) if is_ours else problem(destination, plugins)
        if wrong:
            raise DefinitionError(f"{destination.key}: {wrong}")


async def in_force(connection: Connection) -> Definitions:
    """What PostgreSQL has, compiled."""
    store = DefinitionStore(connection)
    bodies, revision = (await store.current()).values(), await store.revision()
    return Definitions(map(DEFINITION.validate_python, bodies), load_actions(), revision)


def _documents(path: Path) -> list[Any]:
    try:
        return [document for document in yaml.safe_load_all(path.read_text(encoding="utf-8")) if document is not None]
    except (yaml.YAMLError, UnicodeDecodeError) as error:
        raise DefinitionError(f"{path}: not YAML: {str(error).splitlines()[0]}") from error


def _definition(document: Any, path: Path) -> AnyDefinition | Predefined:
    try:
        return WRITTEN.validate_python(document)
    except ValidationError as error:
        first = error.errors()[0]
        name = document.get("id", "?") if isinstance(document, dict) else "?"
        where = ".".join(map(str, first["loc"][1:] or first["loc"]))
        raise DefinitionError(f"{path}: {name}: {where}: {first['msg']}") from error


def difference(current: Mapping[str, dict[str, Any]], wanted: Mapping[str, AnyDefinition], prune: bool) -> Change:
    """What would change; definitions that are in no file stay, unless they are to be pruned."""
    bodies = {key: plain(definition) for key, definition in wanted.items()}
    changes: Change = {key: body for key, body in bodies.items() if current.get(key) != body}
    if prune:
        gone = {key for key in current if key not in bodies and not key.startswith(OPERATORS)}
        # A source's write keys go with it: another one of its name begins without.
        keys = {key for key, body in current.items() if f"source/{body.get('source')}" in gone and "write-key/" in key}
        changes |= dict.fromkeys(gone | keys)
    return changes


def in_force_after(current: Mapping[str, dict[str, Any]], changes: Change) -> Definitions:
    """What the changes lead to. Raises DefinitionError where it cannot be used together."""
    bodies = {key: body for key, body in {**current, **changes}.items() if body is not None}
    after = {key: DEFINITION.validate_python(body) for key, body in bodies.items()}
    require_whole(after)
    made = Definitions(after.values(), load_actions())
    if leak := next(chain(private_sent(made), private_lookups(made)), None):
        raise DefinitionError(leak)
    return made


def plain(definition: AnyDefinition) -> dict[str, Any]:
    """A definition as it is stored and published: defaults left out."""
    body: dict[str, Any] = definition.model_dump(mode="json", by_alias=True, exclude_defaults=True)
    return {"kind": definition.kind, **body}


def sealed(
    current: Mapping[str, dict[str, Any]], wanted: Mapping[str, AnyDefinition], seals: Seals
) -> dict[str, AnyDefinition]:
    """The definitions with their secrets sealed: those that say what they said before are as they were.

    Raises DefinitionError, SettingsError.
    """
    found = {key: seals.seal(definition, current.get(key)) for key, definition in wanted.items()}
    for key, definition in found.items():
        if isinstance(definition, Destination | Source):
            _check_signing(key, map(seals.open, definition.signing))
    return found


def _check_signing(key: str, secrets: Iterable[str]) -> None:
    try:
        signed("", 0, b"", secrets)
    except ValueError as error:
        raise DefinitionError(f"{key}: signing: a secret is whsec_ and base64") from error


def show(current: Mapping[str, dict[str, Any]], changes: Change) -> list[str]:
    """The difference as lines a person reads."""
    lines: list[str] = []
    for key, body in sorted(changes.items()):
        known = current.get(key)
        before = _yaml(known, known)
        lines.append(f"{'-' if body is None else '~' if key in current else '+'} {key}")
        lines += [
            f"    {line}"
            for line in difflib.unified_diff(before, _yaml(body, known), lineterm="", n=1)
            if not line.startswith(("---", "+++", "@@"))
        ]
    return lines


def _yaml(body: dict[str, Any] | None, known: dict[str, Any] | None) -> list[str]:
    """A definition as people read it; of a secret only whether it is in `known`."""
    if body is None:
        return []
    before = DEFINITION.validate_python(known) if known else None
    shown = plain(Seals.masked(DEFINITION.validate_python(body), before))
    return yaml.safe_dump(shown, sort_keys=True, allow_unicode=True, width=1000).splitlines()


async def apply(
    connection: Connection, admin: KafkaAdmin, settings: Settings, changes: Change, concerns_segments: bool = False
) -> None:
    """Make the changes the truth, then publish them; a crash between is mended by whoever publishes next. With them it
    is noted that everybody must go through segment, where that is so.

    Raises DefinitionError where Kafka knows later definitions than PostgreSQL.
    """
    store = DefinitionStore(connection)
    there = max((await asyncio.to_thread(published, admin)).values(), default=0)
    if there > await store.revision():
        raise DefinitionError(
            f"Kafka has definitions up to revision {there}, PostgreSQL up to {await store.revision()}: it was restored "
            "from a backup; `headwater recover` brings it forward"
        )
    destinations = [
        destination_topic(body["id"]) for body in changes.values() if body and body["kind"] == "destination"
    ]
    admin.create_topics(destinations, settings.partitions, settings.replication)
    await store.lock()
    await store.change(changes, operator_name())
    if concerns_segments:
        await connection.execute("insert into backfills (revision) values (%s)", (await store.revision(),))
    await connection.commit()
    await publish(connection, settings)


async def publish(connection: Connection, settings: Settings) -> int:
    """Send to `config` what it lacks, in order; the latest revision, which it has then.

    What it has lies there: it may have been made again, or have lost its end, and a crash may have come between.
    """
    store, admin = DefinitionStore(connection), kafka_admin(settings)
    await store.lock()
    latest, there = await store.latest(), await asyncio.to_thread(published, admin)
    revision = max((revision for revision, _ in latest.values()), default=0)
    known = max(there.values(), default=0)
    # A removal is nothing that a topic lacks which has never had it; but the last revision is waited for.
    lacking = sorted(
        (at, key, body)
        for key, (at, body) in latest.items()
        if at > there.get(key, 0) and (body is not None or key in there or at == revision > known)
    )
    if lacking:
        messages = [
            Message(CONFIG.name, key.encode(), msgspec.json.encode(Published(at, body))) for at, key, body in lacking
        ]
        with closing(Publisher(client_config(settings), settings.topic_prefix)) as publisher:
            await publisher.publish(messages)
    await connection.commit()
    return revision


def published(admin: KafkaAdmin) -> dict[str, int]:
    """The definitions in `config`, by `kind/id`, those that were removed, too: the revision of the last that was said
    of each. Blocking; raises KafkaException."""
    records = ((message.key() or b"", message.value()) for message in read(admin, CONFIG.name))
    return {key.decode(): msgspec.json.decode(value, type=Published).revision for key, value in records if value}
