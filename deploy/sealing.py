"""Secrets in definitions: sealed before they are stored or published, opened where they are used."""

import os
from collections.abc import Callable, Iterable, Mapping
from typing import Any, TypeVar

from cryptography.fernet import Fernet, InvalidToken, MultiFernet
from pydantic import BaseModel

from deploy.settings import Settings, SettingsError
from schemas.definitions import DEFINITION, AnyDefinition
from schemas.definitions.secret import Secret
from workflows.definitions import DefinitionError

#: What is done to a secret at a path of a definition.
Change = Callable[[tuple[str, ...], Secret], Secret]
T = TypeVar("T")


class Seals:
    """Seals and opens with the installation's keys: the first one seals, any of them opens."""

    def __init__(self, settings: Settings) -> None:
        """Raises SettingsError for what is no key."""
        keys = [key.strip() for key in settings.secrets_key.split(",") if key.strip()]
        try:
            self._fernet = MultiFernet([Fernet(key) for key in keys]) if keys else None
        except ValueError as error:
            raise SettingsError("HEADWATER_SECRETS_KEY: not a key (32 bytes in URL-safe base64)") from error

    def open(self, secret: Secret) -> str:
        """What it says. Raises SettingsError where no key opens it."""
        if secret.value is not None:
            return secret.value
        if secret.env is not None:
            raise SettingsError(f"a secret is still the name of a variable ({secret.env}): apply its definition")
        try:
            return self._keys().decrypt((secret.sealed or "").encode()).decode()
        except InvalidToken as error:
            raise SettingsError(
                "HEADWATER_SECRETS_KEY opens a secret of the definitions with none of its keys"
            ) from error

    def seal(self, definition: AnyDefinition, current: Mapping[str, Any] | None) -> AnyDefinition:
        """The definition with its secrets sealed; those that say what they said in the body in force stay as they are.

        Raises DefinitionError where a variable is not set, SettingsError without keys.
        """
        sealed = _secrets_in(DEFINITION.validate_python(current)) if current else {}

        def change(path: tuple[str, ...], secret: Secret) -> Secret:
            if secret.sealed is not None:
                return secret
            plain = secret.value if secret.env is None else os.environ.get(secret.env)
            if plain is None:
                raise DefinitionError(f"{definition.key}: {'.'.join(path)}: the variable {secret.env} is not set")
            known = sealed.get(path)
            if known is not None and known.sealed is not None and self.open(known) == plain:
                return known
            return Secret(sealed=self._keys().encrypt(plain.encode()).decode())

        return _changed(definition, change)

    def rotate(self, definition: AnyDefinition) -> AnyDefinition:
        """The definition with its secrets sealed by the first key. Raises SettingsError where no key opens one."""

        def change(path: tuple[str, ...], secret: Secret) -> Secret:
            return Secret(sealed=self._keys().encrypt(self.open(secret).encode()).decode())

        return _changed(definition, change)

    @staticmethod
    def has_secrets(definition: AnyDefinition) -> bool:
        """Whether there are any in it."""
        return bool(_secrets_in(definition))

    @staticmethod
    def masked(definition: AnyDefinition, known: AnyDefinition | None) -> AnyDefinition:
        """For people to see: of a secret only whether `known` has the same."""
        before = _secrets_in(known) if known is not None else {}

        def hide(path: tuple[str, ...], secret: Secret) -> Secret:
            return Secret(sealed="•••" if before.get(path) == secret else "••• (new)")

        return _changed(definition, hide)

    def check(self, definitions: Iterable[AnyDefinition]) -> None:
        """Raises SettingsError where a secret of theirs cannot be opened."""
        for definition in definitions:
            for secret in _secrets_in(definition).values():
                self.open(secret)

    def _keys(self) -> MultiFernet:
        if self._fernet is None:
            raise SettingsError("HEADWATER_SECRETS_KEY is not set: definitions with secrets need it")
        return self._fernet


def _secrets_in(definition: AnyDefinition) -> dict[tuple[str, ...], Secret]:
    found: dict[tuple[str, ...], Secret] = {}

    def note(path: tuple[str, ...], secret: Secret) -> Secret:
        found[path] = secret
        return secret

    _changed(definition, note)
    return found


def _changed(part: T, change: Change, path: tuple[str, ...] = ()) -> T:
    """A copy with every secret in it changed."""
    if isinstance(part, Secret):
        return change(path, part)  # type: ignore[return-value]
    if isinstance(part, BaseModel):
        fields = {name: _changed(value, change, (*path, name)) for name, value in part}
        return part.model_copy(update={name: new for name, new in fields.items() if new is not getattr(part, name)})
    if isinstance(part, tuple | list):
        changed = (_changed(value, change, (*path, str(place))) for place, value in enumerate(part))
        return type(part)(changed)
    if isinstance(part, dict):
        return {name: _changed(value, change, (*path, str(name))) for name, value in part.items()}  # type: ignore[return-value]
    return part
