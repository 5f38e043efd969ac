"""Event types that many have: `kind: predefined` switches a group of them on, each with its schema and its mapping.

Names and properties are those that the field's tracking plans share, in our own words. What a folder defines itself
under the same name comes first.
"""

from dataclasses import dataclass, field
from typing import Any, Literal

from schemas.definitions.automation import ProfileMapping
from schemas.definitions.base import Definition, EventType
from schemas.definitions.clients import CLIENTS
from schemas.definitions.inbound import EventTypeDefinition

Schema = dict[str, Any]


class Predefined(Definition):
    """Switches on the group `id`, or the `types` of it that are named."""

    kind: Literal["predefined"] = "predefined"
    id: Literal["web", "commerce", "clients"]
    types: tuple[EventType, ...] = ()

    def definitions(self) -> list[Any]:
        """The event types and their mappings; of `clients`, who is who. Raises LookupError for a type that the group
        does not have."""
        group = GROUPS.get(self.id, {})
        if unknown := sorted(set(self.types) - group.keys()):
            raise LookupError(f"{self.key}: there is no {unknown[0]!r}, only {', '.join(group)}")
        found: list[Any] = list(CLIENTS) if self.id == "clients" else []
        for name, known in group.items():
            if self.types and name not in self.types:
                continue
            schema = {"type": "object", "properties": known.properties, "required": list(known.required)}
            found.append(EventTypeDefinition(id=name, description=known.description, schema=schema))
            if known.mapping:
                found.append(ProfileMapping.model_validate({"id": name, "event_type": name, **known.mapping}))
        return found


@dataclass(frozen=True)
class Known:
    """An event type: what happened, the schemas of its properties, those it must have, what it changes of a profile."""

    description: str
    properties: dict[str, Schema]
    required: tuple[str, ...] = ()
    mapping: dict[str, dict[str, str]] = field(default_factory=dict)


def _text(longest: int) -> Schema:
    return {"type": "string", "maxLength": longest}


def _from_properties(*names: str) -> dict[str, str]:
    return {name: f"event.properties.{name}" for name in names}


_ID: Schema = {"type": ["string", "integer"]}
_AMOUNT: Schema = {"type": "number", "minimum": 0}
_CURRENCY: Schema = {"type": "string", "pattern": "^[A-Z]{3}$"}
_PEOPLE = {
    "email": _text(320),
    "phone": _text(50),
    "first_name": _text(200),
    "last_name": _text(200),
}
_PRODUCT = {
    "product_id": _ID,
    "sku": _text(200),
    "name": _text(500),
    "category": _text(500),
    "brand": _text(200),
    "variant": _text(200),
    "price": _AMOUNT,
    "quantity": {"type": "number", "exclusiveMinimum": 0},
    "currency": _CURRENCY,
}
_PRODUCTS: Schema = {"type": "array", "items": {"type": "object", "properties": _PRODUCT}}
_ORDER = {
    "order_id": _ID,
    "total": _AMOUNT,
    "revenue": _AMOUNT,
    "tax": _AMOUNT,
    "shipping": _AMOUNT,
    "discount": _AMOUNT,
    "currency": _CURRENCY,
    "coupon": _text(200),
    "products": _PRODUCTS,
}
_PROMOTION = {"promotion_id": _ID, "name": _text(500), "creative": _text(500), "position": _text(200)}

WEB: dict[str, Known] = {
    "page-view": Known(
        "A page was shown",
        {"url": _text(4000), "path": _text(2000), "title": _text(1000), "referrer": _text(4000)},
        (),
        {
            "set": {"last_page": "event.properties.url"},
            "set_if_empty": {"first_page": "event.properties.url", "first_referrer": "event.properties.referrer"},
        },
    ),
    "screen-view": Known(
        "A screen of an app was shown",
        {"name": _text(500), "category": _text(500)},
        (),
        {"set": {"last_screen": "event.properties.name"}},
    ),
    "search": Known(
        "Somebody searched",
        {"query": _text(1000), "results": {"type": "integer", "minimum": 0}},
        ("query",),
        {"set": {"last_search": "event.properties.query"}},
    ),
    "link-clicked": Known(
        "A link or a button was clicked", {"url": _text(4000), "text": _text(1000), "element": _text(500)}
    ),
    "form-submitted": Known("A form was sent", {"form": _text(500), "fields": {"type": "object"}}, ("form",)),
    "sign-up": Known(
        "An account was made",
        {"user_id": _ID, "method": _text(100), **_PEOPLE},
        (),
        {
            "set": _from_properties("email", "phone"),
            "set_if_empty": {"signed_up_at": "string(event.time)", **_from_properties("first_name", "last_name")},
        },
    ),
    "sign-in": Known(
        "Somebody signed in",
        {"user_id": _ID, "email": _text(320), "method": _text(100)},
        (),
        {"set": {"last_sign_in_at": "string(event.time)"}},
    ),
    "sign-out": Known("Somebody signed out", {}),
    "profile-updated": Known(
        "Somebody changed what is known of them",
        {
            **_PEOPLE,
            "birthday": {"type": "string", "format": "date"},
            "language": _text(35),
            "city": _text(200),
            "country": _text(100),
        },
        (),
        {"set": _from_properties(*_PEOPLE, "birthday", "language", "city", "country")},
    ),
    "consent-update": Known(
        "What somebody agrees to, and what not",
        {"consents": {"type": "object"}},
        ("consents",),
    ),
}

COMMERCE: dict[str, Known] = {
    "product-list-viewed": Known(
        "A list of products was shown", {"list": _text(500), "category": _text(500), "products": _PRODUCTS}
    ),
    "product-viewed": Known(
        "A product was looked at",
        _PRODUCT,
        ("product_id",),
        {
            "set": {
                "last_viewed_product": "event.properties.product_id",
                "last_viewed_category": "event.properties.category",
            }
        },
    ),
    "product-clicked": Known("A product in a list was clicked", _PRODUCT, ("product_id",)),
    "product-added": Known("A product was put into the cart", _PRODUCT, ("product_id",)),
    "product-removed": Known("A product was taken out of the cart", _PRODUCT, ("product_id",)),
    "product-added-to-wishlist": Known(
        "A product was put on a wish list",
        _PRODUCT,
        ("product_id",),
        {"append": {"wishlist": "event.properties.product_id"}},
    ),
    "product-removed-from-wishlist": Known(
        "A product was taken off a wish list",
        _PRODUCT,
        ("product_id",),
        {"remove": {"wishlist": "event.properties.product_id"}},
    ),
    "product-reviewed": Known(
        "A product was reviewed",
        {**_PRODUCT, "rating": {"type": "number"}, "review": _text(10_000)},
        ("product_id",),
    ),
    "product-shared": Known("A product was shared", {**_PRODUCT, "share_via": _text(100)}, ("product_id",)),
    "cart-viewed": Known("The cart was looked at", {"cart_id": _ID, "products": _PRODUCTS}),
    "coupon-applied": Known(
        "A coupon was applied", {"coupon": _text(200), "order_id": _ID, "discount": _AMOUNT}, ("coupon",)
    ),
    "checkout-started": Known("A checkout began", _ORDER, (), {"set": {"last_checkout_at": "string(event.time)"}}),
    "checkout-step-completed": Known(
        "A step of a checkout was done", {"step": _ID, "order_id": _ID, "payment_method": _text(100)}
    ),
    "payment-info-entered": Known("How to pay was entered", {"order_id": _ID, "payment_method": _text(100)}),
    "order-completed": Known(
        "Somebody bought something",
        _ORDER,
        ("order_id", "total"),
        {
            "set": {"last_order_at": "string(event.time)", "last_order": "event.properties.order_id"},
            "set_if_empty": {"first_order_at": "string(event.time)"},
            "increment": {"orders": "1", "order_total": "event.properties.total"},
        },
    ),
    "order-updated": Known("An order was changed", _ORDER, ("order_id",)),
    "order-cancelled": Known(
        "An order was called off", _ORDER, ("order_id",), {"increment": {"orders_cancelled": "1"}}
    ),
    "order-refunded": Known(
        "Money was given back",
        _ORDER,
        ("order_id", "total"),
        {"increment": {"orders_refunded": "1", "refund_total": "event.properties.total"}},
    ),
    "promotion-viewed": Known("A promotion was shown", _PROMOTION, ("promotion_id",)),
    "promotion-clicked": Known("A promotion was clicked", _PROMOTION, ("promotion_id",)),
}

GROUPS: dict[str, dict[str, Known]] = {"web": WEB, "commerce": COMMERCE}
