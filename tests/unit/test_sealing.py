"""Secrets in definitions: sealed, opened, rotated, and never shown."""

import pytest
from cryptography.fernet import Fernet

from deploy.definitions import difference, plain, sealed, show
from deploy.sealing import Seals
from deploy.settings import Settings, SettingsError
from schemas.definitions import DEFINITION, AnyDefinition
from schemas.definitions.outbound import Resource
from workflows.definitions import DefinitionError

OLD, NEW = Fernet.generate_key().decode(), Fernet.generate_key().decode()
CANARY = "canary-of-a-token"


def seals(*keys: str) -> Seals:
    return Seals(Settings(secrets_key=",".join(keys)))


def crm(token: object = CANARY, **more: object) -> AnyDefinition:
    production = {"url": "https://crm.example", "headers": {"authorization": token}}
    return DEFINITION.validate_python(
        {"kind": "resource", "id": "crm", "type": "http", "production": production, **more}
    )


def token_of(definition: AnyDefinition, by: Seals) -> str:
    assert isinstance(definition, Resource)
    return by.open(definition.production.headers["authorization"])


def test_what_is_sealed_says_nothing_and_opens_again():
    body = plain(seals(OLD).seal(crm(), None))
    assert CANARY not in str(body)
    assert token_of(DEFINITION.validate_python(body), seals(OLD)) == CANARY
    assert CANARY not in repr(crm())


def test_a_secret_that_says_the_same_stays_as_it_is_and_another_one_is_a_change():
    current = {"resource/crm": plain(seals(OLD).seal(crm(), None))}
    same = sealed(current, {"resource/crm": crm()}, seals(OLD))
    assert difference(current, same, prune=False) == {}
    other = difference(current, sealed(current, {"resource/crm": crm("another")}, seals(OLD)), prune=False)
    shown = "\n".join(show(current, other))
    assert "••• (new)" in shown
    assert "gAAAA" not in shown
    assert "another" not in shown


def test_a_variable_is_read_when_it_is_applied(monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setenv("CRM_TOKEN", "from outside")
    assert token_of(seals(OLD).seal(crm({"env": "CRM_TOKEN"}), None), seals(OLD)) == "from outside"
    monkeypatch.delenv("CRM_TOKEN")
    with pytest.raises(DefinitionError, match=r"resource/crm: production.headers.authorization: .*CRM_TOKEN"):
        seals(OLD).seal(crm({"env": "CRM_TOKEN"}), None)


def test_any_key_opens_and_the_first_one_seals():
    before = seals(OLD).seal(crm(), None)
    rotated = seals(NEW, OLD).rotate(before)
    assert token_of(rotated, seals(NEW)) == CANARY
    with pytest.raises(SettingsError):
        token_of(rotated, seals(OLD))


@pytest.mark.parametrize("keys", [(), (NEW,)])
def test_a_key_that_is_missing_or_wrong_is_said(keys: tuple[str, ...]):
    with pytest.raises(SettingsError, match="HEADWATER_SECRETS_KEY") as raised:
        token_of(seals(OLD).seal(crm(), None), seals(*keys))
    assert CANARY not in str(raised.value)


def test_what_is_no_key_is_said():
    with pytest.raises(SettingsError, match="HEADWATER_SECRETS_KEY"):
        seals("short")


def test_headers_of_destinations_that_were_stored_before_secrets_were_sealed_are_read_and_sealed():
    hook = {
        "kind": "destination",
        "id": "hook",
        "type": "webhook",
        "url": "https://x.example",
        "headers": {"a": CANARY},
    }
    again = seals(OLD).seal(DEFINITION.validate_python(hook), hook)
    assert CANARY not in str(plain(again))
    assert seals(OLD).has_secrets(again)


def test_every_secret_is_sealed_wherever_it_stands(monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setenv("SIGNING", "whsec_" + CANARY)
    hook = {
        "kind": "destination",
        "id": "hook",
        "type": "webhook",
        "url": "https://x.y",
        "headers": {"a": CANARY},
        "signing": ["whsec_" + CANARY, {"env": "SIGNING"}],
    }
    queue = {"kind": "destination", "id": "q", "type": "queue", "secrets": {"token": CANARY}}
    for body in (hook, queue, plain(crm(test={"url": "https://y.z", "headers": {"b": CANARY}}))):
        definition = seals(OLD).seal(DEFINITION.validate_python(body), None)
        assert CANARY not in str(plain(definition))
        assert "env" not in str(plain(definition))
        rotated = seals(NEW, OLD).rotate(definition)
        seals(NEW).check([rotated])
        assert CANARY not in str(plain(rotated))


def test_headers_that_were_stored_in_the_clear_are_not_shown():
    hook = {"kind": "destination", "id": "hook", "type": "webhook", "url": "https://x.y", "headers": {"a": CANARY}}
    current = {"destination/hook": hook}
    wanted = sealed(current, {"destination/hook": DEFINITION.validate_python(hook)}, seals(OLD))
    assert CANARY not in "\n".join(show(current, difference(current, wanted, prune=False)))


def test_what_is_no_secret_to_sign_with_is_refused_when_it_is_applied():
    hook = {"kind": "destination", "id": "hook", "type": "webhook", "url": "https://x.y", "signing": ["not base64!"]}
    with pytest.raises(DefinitionError, match="destination/hook: signing"):
        sealed({}, {"destination/hook": DEFINITION.validate_python(hook)}, seals(OLD))
