"""Things of the wrong kind behind each door."""

from quintain.plugins.strategy import StrategyPlugin

NUMBER = 7


class Nothing:
    pass


class Strategy(StrategyPlugin):  # type: ignore[type-arg]
    name = "class-not-instance"
    description = "a class where an instance is wanted"

    def create(self, problem, options):  # type: ignore[no-untyped-def]
        raise NotImplementedError
