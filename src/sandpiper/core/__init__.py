"""The room engine and its neighbours: pure state machines, `handle(event, now) → effects`, no IO, no clock."""
