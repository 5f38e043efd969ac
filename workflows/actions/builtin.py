"""All actions there are: ours, and those of installed packages."""

from importlib.metadata import entry_points
from typing import Any

from workflows.actions.action import Action, Registry
from workflows.actions.flow import Branch, LogMessage, Start
from workflows.actions.outside import EmitEvent, SendToDestination
from workflows.actions.profile import ChangeSegment, CopyToProfile, MapToProfile, MergeProfiles, UpdateProfile

BUILTIN: tuple[type[Action[Any]], ...] = (
    Start,
    Branch,
    LogMessage,
    CopyToProfile,
    UpdateProfile,
    MapToProfile,
    ChangeSegment,
    MergeProfiles,
    EmitEvent,
    SendToDestination,
)


def load_actions() -> Registry:
    """Every action by name: the built-in ones, then those that packages register as `headwater.actions`.

    Raises ValueError where a package's action takes the name of another.
    """
    actions: dict[str, Action[Any]] = {action.name: action() for action in BUILTIN}
    for point in entry_points(group="headwater.actions"):
        action = point.load()()
        if action.name in actions:
            raise ValueError(f"the action {action.name!r} of {point.value} has the name of another action")
        actions[action.name] = action
    return actions
