"""What a lane requires of its partition and its row, or else stands still: that they belong together, without a gap.
Each raises LaneStopped."""

from processors.runner.failures import LaneStopped
from processors.storage.progress import ProgressRow


def require_same_topic(row: ProgressRow, topic_id: str) -> None:
    """The topic is the one that the row is about."""
    if row.topic_id != topic_id:
        raise LaneStopped(
            f"the topic was deleted and made again (id {row.topic_id}, now {topic_id}); what it held from offset "
            f"{row.next_offset} on was not processed"
        )


def require_not_cut(row: ProgressRow, end: int) -> None:
    """The topic still has what was processed."""
    if end < row.next_offset:
        raise LaneStopped(
            f"the topic ends at offset {end}, but {row.next_offset} was reached: Kafka lost "
            f"{row.next_offset - end} records, and new ones would take their places"
        )


def require_not_gone(next_offset: int, beginning: int) -> None:
    """The topic still has what was not processed."""
    if beginning > next_offset:
        raise LaneStopped(
            f"offsets {next_offset} to {beginning - 1} are gone from the topic before they were processed "
            f"({beginning - next_offset} records at most)"
        )


def require_not_back(row: ProgressRow, committed: int | None) -> None:
    """The row is as far as Kafka was told, or an operator has said that it need not be."""
    if committed is not None and committed > max(row.next_offset, row.forgiven):
        raise LaneStopped(
            f"Kafka has committed {committed}, PostgreSQL only {row.next_offset}: the database went back in time "
            f"(a restore?); `headwater recover` brings it forward again"
        )
