"""The door of an installation as its operator sees it: write keys in force, and how requests were answered."""

import asyncio

from deploy.operations import write_keys
from tests.kit.installation import Installation
from tests.kit.waiting import until


def new_key(installation: Installation, source: str) -> tuple[str, str]:
    """A write key of a source, in force, and its id."""
    key, id = asyncio.run(write_keys.add_key(installation.settings, source, "test"))
    until(lambda: _takes(installation, key), 20, f"a key of {source} is not in force")
    return key, id


def revoke(installation: Installation, key: str, id: str) -> None:
    """Returns when the key is in force no more."""
    asyncio.run(write_keys.revoke_key(installation.settings, id))
    until(lambda: not _takes(installation, key), 20, "a revoked key is in force")


def answered(installation: Installation, outcome: str) -> float:
    """How many requests the door has answered so."""
    begin = f'headwater_door_requests_total{{outcome="{outcome}"}}'
    lines = installation.get("/metrics").text.splitlines()
    return sum(float(line.split()[-1]) for line in lines if line.startswith(begin))


def _takes(installation: Installation, key: str) -> bool:
    return installation.get_status(f"/v1/projects/{key}/settings") == 200
