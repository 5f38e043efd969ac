"""Rules compiled, and indexed by what an event says of itself: it asks only those that may concern it."""

from collections.abc import Iterable

from schemas.definitions.automation import Rule
from workflows.conditions import Condition, share_needs
from workflows.wildcards import matches

#: Pairs of event type and source that are remembered: anybody may make up event types.
MAX_REMEMBERED = 4096


class CompiledRule:
    """A rule and its compiled condition. Raises ConditionError."""

    def __init__(self, rule: Rule) -> None:
        self.id, self.event_type, self.source = rule.id, rule.event_type, rule.source
        self.workflows, self.consents, self.priority = rule.workflows, rule.consents, rule.priority
        self.condition = Condition(rule.condition) if rule.condition else None

    def takes_type(self, type: str) -> bool:
        """Whether it is about events of this type."""
        return matches((self.event_type,), type)

    def takes_source(self, source: str) -> bool:
        """Whether it is about events of this source."""
        return self.source in (None, source)


class RuleIndex:
    """All rules, in the order in which their workflows run."""

    def __init__(self, rules: Iterable[CompiledRule]) -> None:
        self.all = sorted(rules, key=lambda rule: (-rule.priority, rule.id))
        self._remembered: dict[tuple[str, str], tuple[CompiledRule, ...]] = {}
        by_type: dict[str, list[Condition]] = {}
        for rule in self.all:
            if rule.condition is not None:
                by_type.setdefault(rule.event_type, []).append(rule.condition)
        for together in by_type.values():
            share_needs(together)

    def of(self, type: str, source: str) -> tuple[CompiledRule, ...]:
        """Those that are about events of this type and source."""
        found = self._remembered.get((type, source))
        if found is None:
            if len(self._remembered) >= MAX_REMEMBERED:
                self._remembered.clear()
            found = tuple(rule for rule in self.all if rule.takes_type(type) and rule.takes_source(source))
            self._remembered[type, source] = found
        return found
