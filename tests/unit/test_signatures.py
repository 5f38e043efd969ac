"""Signatures of requests that come in: made by the standard's own library, checked by ours."""

from datetime import UTC, datetime

import pytest
from standardwebhooks import Webhook

from workflows.signatures import TOLERANCE_S, is_signed

SECRET, OTHER = "whsec_MfKQ9r8GKYqrTwjUPD8ILPZIo2LaLaSw", "whsec_C2FVsBQIhrscChlQIMV+b5sSYspob7oD"
NOW = 1_750_000_000
BODY = b'{"id": 7}'


def signature(secret: str = SECRET, at: int = NOW, body: bytes = BODY) -> str:
    return Webhook(secret).sign("msg-1", datetime.fromtimestamp(at, UTC), body.decode())


def test_what_the_standard_s_library_signs_is_signed():
    assert is_signed("msg-1", str(NOW), signature(), BODY, [SECRET], NOW)


def test_while_a_secret_is_replaced_either_signs():
    assert is_signed("msg-1", str(NOW), signature(OTHER), BODY, [SECRET, OTHER], NOW)
    assert is_signed("msg-1", str(NOW), f"{signature(OTHER)} {signature()}", BODY, [SECRET], NOW)


@pytest.mark.parametrize(
    ("id", "timestamp", "given", "body", "now"),
    [
        ("msg-2", str(NOW), signature(), BODY, NOW),
        ("msg-1", str(NOW), signature(), BODY + b" ", NOW),
        ("msg-1", str(NOW), signature(OTHER), BODY, NOW),
        ("msg-1", str(NOW), signature().replace("v1,", "v2,"), BODY, NOW),
        ("msg-1", str(NOW), "", BODY, NOW),
        ("", str(NOW), signature(), BODY, NOW),
        ("msg-1", "", signature(), BODY, NOW),
        ("msg-1", f"-{NOW}", signature(), BODY, NOW),
        ("msg-1", "9" * 5000, signature(), BODY, NOW),
        ("msg-1", "²", signature(), BODY, NOW),
        ("msg-1", str(NOW + 1), signature(), BODY, NOW),
        ("msg-1", str(NOW), signature(), BODY, NOW + TOLERANCE_S + 1),
        ("msg-1", str(NOW), signature(), BODY, NOW - TOLERANCE_S - 1),
        ("msg-1", str(NOW), "v1,\xff" + signature(), BODY, NOW),
    ],
)
def test_whatever_differs_is_not_signed(id: str, timestamp: str, given: str, body: bytes, now: int):
    assert not is_signed(id, timestamp, given, body, [SECRET], now)
