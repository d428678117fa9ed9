"""One error for every setting that cannot be used, whoever finds out: its name, the value given, the rule, the fix."""

from __future__ import annotations


class SettingError(ValueError):
    """'name=value: rule; fix'. Rooms below know a setting by its short name; `within` puts the group before it.

    name: dotted, as a user gives it. value: as it was given. rule: what it must be ("must be ..."). fix: what to do,
    with a full stop. It can be pickled: a job's refusal crosses processes.
    """

    def __init__(self, name: str, value: object, rule: str, fix: str) -> None:
        super().__init__(name, value, rule, fix)  # the arguments that pickle calls it with again
        self.name, self.value, self.rule, self.fix = name, value, rule, fix

    def __str__(self) -> str:
        return f"{self.name}={self.value!r}: {self.rule}; {self.fix}"

    def within(self, group: str) -> SettingError:
        """The same refusal of `group.name`."""
        return SettingError(f"{group}.{self.name}", self.value, self.rule, self.fix)
