"""Rows 1 and 3 in short: nothing is lost under kills and cuts, and everyone consumes again."""

from __future__ import annotations

from chaos import faults
from chaos.stage import Opened
from chaos.storm import BACK_WHEN_BUSY, Storm


def test_nothing_is_lost_or_miscounted_while_everything_is_killed_and_cut(opened: Opened) -> None:
    stage = opened("redis", lease=2.0)
    for _ in range(2):
        stage.start_worker("-c", "2")
    storm = Storm(stage, seed=1, most=2000, rate=400, back=BACK_WHEN_BUSY)
    storm.begin()
    storm.run(
        [
            faults.kill_a_child,
            faults.cut_replies,
            faults.kill_a_supervisor,
            faults.cut_after_some_bytes,
            faults.restart_redis,
            faults.kill_a_worker,
            faults.reset_connections,
        ],
        pause=(0.1, 0.3),
    )
    storm.end()


def test_what_is_acknowledged_early_runs_once_at_most_whatever_is_killed(opened: Opened) -> None:
    stage = opened("redis", lease=2.0, acks="early")
    for _ in range(2):
        stage.start_worker("-c", "2")
    storm = Storm(stage, seed=2, most=1000, rate=400, back=BACK_WHEN_BUSY)
    storm.begin()
    storm.run(
        [faults.kill_a_child, faults.cut_replies, faults.kill_a_supervisor, faults.kill_a_worker],
        pause=(0.1, 0.3),
    )
    storm.end()


def test_every_pool_consumes_again_soon_after_any_trouble_with_the_connection(opened: Opened) -> None:
    stage = opened("redis")
    for pool in ("prefork", "threads", "gevent", "asyncio"):
        stage.start_worker("-P", pool, "-c", "2", ready=False)
    stage.start_worker("-P", "solo", ready=False)
    for worker in stage.workers:
        worker.wait_for_line(r" ready\.")
    storm = Storm(stage, seed=3, rate=20, back=BACK_WHEN_BUSY)
    storm.begin()
    with faults.lasting(2.0, 3.0):
        storm.run(
            [
                faults.reset_connections,
                faults.forgetful_black_hole,
                faults.client_kill,
                faults.refuse,
                faults.restart_redis,
                faults.pause_redis,
            ],
            pause=(0.1, 0.3),
        )
    storm.end()
