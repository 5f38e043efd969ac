"""The definitions in force, compiled and indexed: what a process asks while events pass. Built anew at each change."""

from collections.abc import Iterable
from functools import cached_property, lru_cache

from schemas.definitions import AnyDefinition
from schemas.definitions.automation import ProfileMapping, Rule, Segment, Window, Workflow
from schemas.definitions.consent import Compliance, ConsentType
from schemas.definitions.identity import IdentificationPoint, IdentityGuards, Namespace, Strategy, TraitDefinition
from schemas.definitions.inbound import EventTypeDefinition, KafkaBridge, Redirect, Reshaping, Source, WriteKey
from schemas.definitions.measuring import Alert, Metric
from schemas.definitions.outbound import Destination, Pause, Resource
from schemas.events import ValidEvent
from workflows.actions.action import Registry
from workflows.conditions import Condition, ConditionError, share_needs
from workflows.deliveries import CompiledDestination
from workflows.event_deliveries import EventDestination
from workflows.event_schema import EventSchema, EventSchemaError
from workflows.graph import Graph, GraphError
from workflows.mappings import CompiledMapping
from workflows.measuring import CompiledMetric
from workflows.reshaping import CompiledReshaping
from workflows.rule_index import CompiledRule, RuleIndex
from workflows.segments import CompiledSegment
from workflows.templates import TemplateError

_NO_GUARDS = IdentityGuards(id="defaults")


class DefinitionError(ValueError):
    """A definition cannot be used. The message begins with its `kind/id` and says what to change."""


class Definitions:
    """One consistent state of all definitions, and its revision. Immutable."""

    def __init__(self, definitions: Iterable[AnyDefinition], actions: Registry, revision: int = 0) -> None:
        """Raises DefinitionError for the first definition that cannot be used."""
        self.revision, self._actions = revision, actions
        self.sources: dict[str, Source] = {}
        #: SHA-256 of a write key, in hex, to the source that it is of.
        self.write_keys: dict[str, str] = {}
        self.redirects: dict[str, Redirect] = {}
        self.bridges: dict[str, KafkaBridge] = {}
        self.schemas: dict[str, EventSchema] = {}
        self.reshapings: dict[str, list[CompiledReshaping]] = {}
        self.namespaces: dict[str, Namespace] = {}
        self.points: dict[str, list[IdentificationPoint]] = {}
        self.guards = _NO_GUARDS
        #: What becomes of traits that are not `auto`.
        self.strategies: dict[str, Strategy] = {}
        self.private_traits: set[str] = set()
        self.consents: dict[str, ConsentType] = {}
        self.compliance: list[Compliance] = []
        self.mappings: dict[str, list[CompiledMapping]] = {}
        self.rules = RuleIndex([])
        self.workflows: dict[str, Graph] = {}
        self.drafts: dict[str, Graph] = {}
        self.windows: list[Window] = []
        self.segments: list[CompiledSegment] = []
        #: Segment to the source under which events say who enters and who leaves it.
        self.announcing_segments: dict[str, str] = {}
        self.resources: dict[str, Resource] = {}
        self.destinations: dict[str, Destination] = {}
        self.compiled_destinations: list[CompiledDestination] = []
        self.event_destinations: list[EventDestination] = []
        self.metrics: dict[str, CompiledMetric] = {}
        self.alerts: list[Alert] = []
        #: Destinations whose deliveries wait.
        self.paused: set[str] = set()
        rules: list[CompiledRule] = []
        for definition in sorted(definitions, key=lambda definition: definition.key):
            try:
                if isinstance(definition, Rule) and definition.enabled:
                    rules.append(CompiledRule(definition))
                self._add(definition, actions)
            except (ConditionError, EventSchemaError, GraphError, TemplateError) as error:
                raise DefinitionError(f"{definition.key}: {error}") from error
        self.rules = RuleIndex(rules)
        self._share_needs()

    def _share_needs(self) -> None:
        """Those that are evaluated one after another over one event or profile; a workflow's, its graph has told."""
        groups: list[Iterable[Condition | None]] = [
            *([one.condition for one in reshapings] for reshapings in self.reshapings.values()),
            [segment.condition for segment in self.segments],
            [one for to in self.compiled_destinations for one in (to.condition, *to.mapping.values())],
        ]
        for group in groups:
            share_needs(condition for condition in group if condition is not None)

    def _add(self, definition: AnyDefinition, actions: Registry) -> None:
        match definition:
            case Source():
                self.sources[definition.id] = definition
            case WriteKey():
                self.write_keys[definition.id] = definition.source
            case Redirect():
                self.redirects[definition.id] = definition
            case KafkaBridge(enabled=True):
                self.bridges[definition.id] = definition
            case EventTypeDefinition():
                self.schemas[definition.id] = EventSchema(definition)
            case Reshaping(enabled=True):
                self.reshapings.setdefault(definition.event_type, []).append(CompiledReshaping(definition))
            case Namespace():
                self.namespaces[definition.id] = definition
            case IdentificationPoint(enabled=True):
                self.points.setdefault(definition.event_type, []).append(definition)
            case IdentityGuards():
                if self.guards.id != _NO_GUARDS.id:
                    raise DefinitionError(f"{definition.key}: there is {self.guards.key} already; one is enough")
                self.guards = definition
            case TraitDefinition():
                self.strategies[definition.id] = definition.merge
                if definition.private:
                    self.private_traits.add(definition.id)
            case ConsentType():
                self.consents[definition.id] = definition
            case Compliance(enabled=True):
                self.compliance.append(definition)
            case ProfileMapping(enabled=True):
                self.mappings.setdefault(definition.event_type, []).append(CompiledMapping(definition, actions))
            case Workflow():
                graphs = self.drafts if definition.draft else self.workflows
                graphs[definition.id] = Graph(definition, actions)
            case Window():
                self.windows.append(definition)
            case Segment(enabled=True):
                condition = Condition(definition.condition) if definition.condition else None
                self.segments.append(CompiledSegment(definition.id, condition))
                if definition.source is not None:
                    self.announcing_segments[definition.id] = definition.source
            case Resource():
                self.resources[definition.id] = definition
            case Destination():
                self.destinations[definition.id] = definition
                if definition.events:
                    self.event_destinations.append(EventDestination(definition))
                else:
                    self.compiled_destinations.append(CompiledDestination(definition))
            case Metric(enabled=True):
                self.metrics[definition.id] = CompiledMetric(definition)
            case Alert(enabled=True):
                self.alerts.append(definition)
            case Pause():
                self.paused.add(definition.id)

    def namespace(self, name: str) -> Namespace:
        """The namespace's definition, or the defaults."""
        return self.namespaces.get(name) or _undefined(name)

    @cached_property
    def origins(self) -> frozenset[str] | None:
        """The pages' origins that any source takes something from; None where one takes it from all."""
        sources = [source for source in self.sources.values() if source.enabled]
        if any(not source.origins for source in sources):
            return None
        return frozenset(origin for source in sources for origin in source.origins)

    @cached_property
    def awaited_types(self) -> frozenset[str]:
        """The event types that runs may wait for."""
        return frozenset(type for graph in self.workflows.values() for type in graph.awaits)

    @cached_property
    def graphs(self) -> dict[str, Graph]:
        """Workflows by version: those in force, and whatever is added of older ones."""
        return {graph.version: graph for graph in self.workflows.values()}

    def graph_of(self, workflow: Workflow) -> Graph:
        """The graph of a workflow that may not be in force. Raises GraphError."""
        return Graph(workflow, self._actions)

    @cached_property
    def governs(self) -> bool:
        """Whether consents matter to anything that comes in."""
        required = any(source.requires_consent for source in self.sources.values())
        return bool(self.consents or self.compliance or required)

    @cached_property
    def asks_for_visits(self) -> bool:
        """Whether any condition looks at visits: they are counted for those only."""
        destinations = (one for to in self.compiled_destinations for one in (to.condition, *to.mapping.values()))
        asking = [*(segment.condition for segment in self.segments), *destinations]
        return any("visits" in condition.source for condition in asking if condition is not None)

    @cached_property
    def change_by_themselves(self) -> bool:
        """Whether segments may change though nothing happens."""
        return bool(self.windows) or any(consent.expires_days for consent in self.consents.values())

    @cached_property
    def _points(self) -> dict[str, tuple[IdentificationPoint, ...]]:
        every = self.points.get("*", [])
        return {type: (*points, *every) for type, points in self.points.items() if type != "*"} | {"*": (*every,)}

    def points_of(self, type: str) -> tuple[IdentificationPoint, ...]:
        """The identification points for events of a type."""
        return self._points.get(type) or self._points["*"]

    def mappings_of(self, event: ValidEvent) -> list[CompiledMapping]:
        """The mappings for an event."""
        return [one for one in self.mappings.get(event.type, ()) if one.source in (None, event.source)]

    def refusing_traits(self) -> list[str]:
        """Traits in which profiles that become one may not differ."""
        return sorted(name for name, strategy in self.strategies.items() if strategy == "refuse")

    def unique_namespaces(self) -> list[str]:
        """Namespaces in which a person has at most one value."""
        return sorted(name for name, namespace in self.namespaces.items() if namespace.unique)


@lru_cache(1000)
def _undefined(namespace: str) -> Namespace:
    return Namespace(id=namespace)
