"""All actions there are: ours, and those of installed packages."""

from importlib.metadata import entry_points
from typing import Any

from workflows.actions.action import Action, Registry
from workflows.actions.data import AppendData, FillTemplate, Hide, MapValues, RemoveData, SetData
from workflows.actions.event import EmitEvent, IsNew, ValueChanged
from workflows.actions.flow import Branch, End, Join, LogMessage, Split, Start, Switch
from workflows.actions.outside import HttpRequest, Query, SendToDestination
from workflows.actions.profile import (
    ChangeConsent,
    ChangeSegment,
    CopyToProfile,
    Interest,
    LoadProfile,
    MapToProfile,
    MergeProfiles,
    UpdateProfile,
)
from workflows.actions.waits import WaitForEvent, WaitForTime

BUILTIN: tuple[type[Action[Any]], ...] = (
    Start,
    End,
    Branch,
    Switch,
    Split,
    Join,
    WaitForTime,
    WaitForEvent,
    SetData,
    AppendData,
    RemoveData,
    MapValues,
    FillTemplate,
    Hide,
    CopyToProfile,
    UpdateProfile,
    MapToProfile,
    Interest,
    ChangeConsent,
    ChangeSegment,
    MergeProfiles,
    LoadProfile,
    EmitEvent,
    ValueChanged,
    IsNew,
    HttpRequest,
    Query,
    SendToDestination,
    LogMessage,
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
