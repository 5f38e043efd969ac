"""Event-to-profile mappings: each is a small workflow of its own, which runs before those that rules choose."""

from schemas.definitions.automation import Node, ProfileMapping, Workflow
from workflows.actions.action import Registry
from workflows.actions.profile import UpdateConfig
from workflows.graph import Graph


class CompiledMapping:
    """A mapping, ready to run."""

    def __init__(self, mapping: ProfileMapping, actions: Registry) -> None:
        """Raises GraphError for an expression that cannot be used."""
        self.source = mapping.source
        change = mapping.model_dump(include=set(UpdateConfig.model_fields), exclude_defaults=True)
        nodes = {"map": Node(action="map-to-profile", config=change)}
        if mapping.condition is not None:
            nodes["if"] = Node(action="condition", config={"if": mapping.condition}, then={"true": ("map",)})
        #: Its runs are kept under this name, which no workflow can have.
        self.graph = Graph(Workflow(id=mapping.id, nodes=nodes), actions)
        self.graph.id = f"mapping/{mapping.id}"
