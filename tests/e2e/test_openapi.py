"""What the door says of itself is true: what is asked as it describes is answered as it describes, without a 500."""

import pytest
import schemathesis
from hypothesis import HealthCheck, Phase, given, settings
from schemathesis import Case
from schemathesis.checks import not_a_server_error
from schemathesis.generation import GenerationMode
from schemathesis.specs.openapi.checks import (
    content_type_conformance,
    response_schema_conformance,
    status_code_conformance,
)

from tests.conftest import MakeInstallation
from tests.kit.definitions import SHOP
from tests.kit.installation import Installation

CHECKS = [not_a_server_error, status_code_conformance, content_type_conformance, response_schema_conformance]


@pytest.fixture(scope="module")
def door(make_shared_installation: MakeInstallation) -> Installation:
    installation = make_shared_installation(SHOP)
    installation.start_door()
    return installation


@pytest.mark.parametrize("mode", [GenerationMode.POSITIVE, GenerationMode.NEGATIVE])
def test_whatever_is_asked_is_answered_as_described(door: Installation, mode: GenerationMode) -> None:
    described = schemathesis.openapi.from_url(f"{door.url}/openapi.json")
    operations = [result.ok() for result in described.get_all_operations()]
    assert len(operations) > 10
    for operation in operations:
        if mode is GenerationMode.NEGATIVE and operation.method.upper() == "GET":
            continue

        @settings(
            max_examples=8,
            deadline=None,
            phases=[Phase.generate],
            suppress_health_check=list(HealthCheck),
            derandomize=True,
        )
        @given(operation.as_strategy(generation_mode=mode))
        def ask(case: Case) -> None:
            # Else hardly anything would come past the question of whose it is.
            if isinstance(case.body, dict) and "source" in case.body:
                case.body["source"] = {"id": "shop"}
            if "source" in (case.path_parameters or {}):
                case.path_parameters["source"] = "shop"
            case.call_and_validate(checks=CHECKS, headers={"authorization": "Bearer shop"})

        ask()
