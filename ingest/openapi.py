"""What the door takes and answers, as OpenAPI."""

from typing import Any

OPENAPI: dict[str, Any] = {"openapi": "3.1.0"}
