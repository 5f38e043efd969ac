"""Tools that ask for the definitions in force: a dispatcher's outlet."""

from typing import Any

import pytest

from deploy.settings import Settings
from deploy.stages import find_stage, stages_beside
from deploy.toolbox import toolbox
from processors.connectors.guard import Guard, guarded_session
from processors.runner.failures import Unavailable
from processors.topology import dispatch_to
from schemas.profiles import Delivery
from tests.unit.making import definitions

HOOK = {"kind": "destination", "id": "crm", "type": "webhook", "url": "http://127.0.0.1:9/", "enabled": False}


async def test_a_running_dispatcher_lets_the_deliveries_of_a_destination_that_is_switched_off_wait() -> None:
    known = definitions(HOOK)

    class Feed:
        def get(self) -> Any:
            return known

    guard = Guard(["127.0.0.0/8"])
    async with guarded_session(guard) as client:
        tools = toolbox(dispatch_to("crm"), Feed(), Settings(), client, guard)(None)
        with pytest.raises(Unavailable, match="off"):
            await tools["outlet"].deliver([Delivery(id="d", destination="crm", profile="p", version=1, body={})])


def test_a_dispatcher_can_be_started_again_while_its_destination_is_off_but_none_is_started_for_it() -> None:
    assert find_stage("dispatch-crm", definitions(HOOK)).name == "dispatch-crm"
    assert not stages_beside(definitions(HOOK))
