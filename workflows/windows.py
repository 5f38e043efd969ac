"""Windows: how many events of a type a profile sent in the last so many days, and when that changes by itself.

A window of N days is today and the N-1 days before it, in UTC: counted by days, never by looking at events.
"""

from collections.abc import Iterable, Mapping
from datetime import date, timedelta

from schemas.definitions.automation import Window

#: (event type, day) to how many events.
Days = Mapping[tuple[str, date], int]


def counts_in(windows: Iterable[Window], days: Days, today: date) -> dict[str, int]:
    """Each window's count."""
    return {
        window.id: sum(
            count
            for (type, day), count in days.items()
            if type == window.event_type and today - timedelta(days=window.days) < day <= today
        )
        for window in windows
    }


def next_change(windows: Iterable[Window], days: Days, today: date) -> date | None:
    """The first day on which a count will be another though nothing happens; None where there is none."""
    changes = []
    for window in windows:
        for type, day in days:
            if type == window.event_type:
                leaves = day + timedelta(days=window.days)
                changes.append(day if day > today else leaves)
    return min((change for change in changes if change > today), default=None)


def since(windows: Iterable[Window], today: date) -> date:
    """The first day that any of the windows counts."""
    return min((today - timedelta(days=window.days - 1) for window in windows), default=today)
