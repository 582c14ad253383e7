"""How long an image takes: measured, never guessed."""

from __future__ import annotations

from types import SimpleNamespace

from kop_core import timing


def test_it_times_single_images_after_two_that_do_not_count(monkeypatch):
    seen, clock = [], iter(range(10_000))
    ticks = []

    def tick() -> float:
        ticks.append(next(clock))
        return float(ticks[-1]) / 1000

    monkeypatch.setattr(timing.time, "perf_counter", tick)
    found = timing.measure(SimpleNamespace(classify=seen.append), repeats=10)
    assert len(seen) == 12 and {r.pixels.shape for r in seen} == {(512, 512)}
    assert abs(found.milliseconds - 1) < 1e-9 and found.low <= found.milliseconds <= found.high
    assert found.repeats == 10 and "cores" in found.machine
    assert set(found.get_config()) == {"milliseconds", "low", "high", "repeats", "machine"}
