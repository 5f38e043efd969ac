"""How tables are asked for origins: for all of a payload, which lie side by side. One with ten events costs little more
than one with one."""

from collections.abc import Iterable

from schemas.origin import Origin

#: An origin's columns.
ORIGIN = "origin_partition, origin_offset, origin_ordinal"
#: Payloads as a table k, of what `payloads` gives; and how a table with these columns is joined to it.
PAYLOADS = "with k as (select * from unnest(%s::int[], %s::bigint[]) as k (p, o)) "
OF_THEM = "origin_partition = p and origin_offset = o"


def payloads(origins: Iterable[Origin]) -> tuple[str, str]:
    """For PAYLOADS: partitions and offsets, each as one text, which costs half of what a JSON of them would."""
    places = {(origin.partition, origin.offset) for origin in origins}
    return f"{{{','.join([str(p) for p, _ in places])}}}", f"{{{','.join([str(o) for _, o in places])}}}"
