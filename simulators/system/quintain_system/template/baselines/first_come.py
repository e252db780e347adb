"""First come, first served; with a larger weight, urgent jobs would go first."""

from quintain_system import Decision

URGENT_WEIGHT = 1.0
NORMAL_WEIGHT = 1.0


class Policy:
    def __init__(self, config):
        self.waiting = []  # (arrival, job, priority)

    def decide(self, observation, happened):
        for record in happened:
            if record.kind == "job":
                self.waiting.append((record.time, record.id, record.priority))
        now = observation["time"]

        def urgency(entry):
            arrival, _, priority = entry
            weight = URGENT_WEIGHT if priority == "urgent" else NORMAL_WEIGHT
            return weight * (now - arrival + 0.1)

        self.waiting.sort(key=urgency, reverse=True)
        chosen = self.waiting[: observation["free"]]
        self.waiting = self.waiting[observation["free"] :]
        return [Decision("start", job=job) for _, job, _ in chosen]
