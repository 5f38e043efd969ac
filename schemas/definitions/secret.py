"""Secrets in definitions: written as they are, or by the name of a variable; stored and published sealed only."""

from typing import Annotated, Any, Self

from pydantic import BaseModel, BeforeValidator, ConfigDict, Field, model_validator


class Secret(BaseModel):
    """A value that nobody is to see. One of: `value` (as it is written), `env` (the variable that holds it when it is
    applied), `sealed` (encrypted: all that is ever stored)."""

    model_config = ConfigDict(extra="forbid", frozen=True, hide_input_in_errors=True)

    value: str | None = Field(default=None, repr=False)
    env: str | None = None
    sealed: str | None = None

    @model_validator(mode="after")
    def _is_one(self) -> Self:
        if sum(one is not None for one in (self.value, self.env, self.sealed)) != 1:
            raise ValueError("a secret is a text, or {env: NAME}")
        return self


def _written(given: Any) -> Any:
    return {"value": given} if isinstance(given, str) else given


SecretText = Annotated[Secret, BeforeValidator(_written)]
