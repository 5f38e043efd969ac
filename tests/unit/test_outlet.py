"""A destination's outlet: what is tried for as long as the destination says, and then given up."""

from collections.abc import Sequence

import pytest

from processors.connectors.outlet import Outlet
from processors.runner.failures import Poison, Unavailable
from schemas.definitions.outbound import Destination
from schemas.profiles import Delivery

ONE, OTHER = (Delivery(id=id, destination="lake", profile="p", version=1, body={}) for id in ("one", "other"))


class Away:
    """Is not there, until it is."""

    def __init__(self) -> None:
        self.is_there, self.calls = False, 0

    async def deliver(self, deliveries: Sequence[Delivery]) -> None:
        self.calls += 1
        if not self.is_there:
            raise Unavailable("away")


def outlet(away: Away, **fields: float) -> Outlet:
    destination = Destination.model_validate({"kind": "destination", "id": "lake", "topic": {"name": "lake"}, **fields})
    return Outlet(lambda: destination, {"kafka": away})


async def test_without_a_bound_it_is_tried_for_ever() -> None:
    away = Away()
    tried = outlet(away)
    for _ in range(3):
        with pytest.raises(Unavailable):
            await tried.deliver([ONE])
    away.is_there = True
    await tried.deliver([ONE])
    assert away.calls == 4


async def test_after_the_bound_it_is_given_up_and_so_is_each_half_without_another_call() -> None:
    away = Away()
    tried = outlet(away, give_up_after_s=1e-9)
    with pytest.raises((Unavailable, Poison)):
        await tried.deliver([ONE, OTHER])
    with pytest.raises(Poison, match="destination_gave_up"):
        await tried.deliver([ONE, OTHER])
    calls = away.calls
    for half in (ONE, OTHER):
        with pytest.raises(Poison, match="destination_gave_up"):
            await tried.deliver([half])
    assert away.calls == calls


async def test_time_for_which_a_destination_was_paused_is_no_time_for_which_it_was_tried() -> None:
    away = Away()
    tried = outlet(away, give_up_after_s=1e-9)
    with pytest.raises(Unavailable):
        await tried.deliver([ONE])
    in_force, tried._destination = tried._destination, lambda: None
    with pytest.raises(Unavailable, match="paused"):
        await tried.deliver([ONE])
    away.is_there, tried._destination = True, in_force
    await tried.deliver([ONE])
    assert away.calls == 2


async def test_what_was_taken_is_tried_anew_when_it_comes_again() -> None:
    away = Away()
    tried = outlet(away, give_up_after_s=1000)
    with pytest.raises(Unavailable):
        await tried.deliver([ONE])
    away.is_there = True
    await tried.deliver([ONE])
    assert tried._failing_since == {}
