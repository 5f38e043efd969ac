"""How tables are asked for origins: payload by payload, whose events lie side by side in an index."""

from collections.abc import Iterable

from schemas.origin import Origin

#: An origin's columns.
ORIGIN = "origin_partition, origin_offset, origin_ordinal"
#: Origins as a table k, of what `by_payload` gives; and how a table with these columns is joined to it.
ASKED = "with k as (select p, o, n::int[] from unnest(%s::int[], %s::bigint[], %s::text[]) as k (p, o, n)) "
IS_ASKED = "origin_partition = p and origin_offset = o and origin_ordinal = any (n)"


def by_payload(origins: Iterable[Origin]) -> tuple[str, str, str]:
    """For ASKED: of each payload its partition, its offset, and the ordinals that are asked for. Arrays as texts, which
    cost half of what a JSON of them would."""
    asked: dict[tuple[int, int], list[int]] = {}
    for origin in origins:
        asked.setdefault((origin.partition, origin.offset), []).append(origin.ordinal)
    ordinals = [f'"{{{",".join(map(str, some))}}}"' for some in asked.values()]
    return (
        f"{{{','.join([str(partition) for partition, _ in asked])}}}",
        f"{{{','.join([str(offset) for _, offset in asked])}}}",
        f"{{{','.join(ordinals)}}}",
    )
