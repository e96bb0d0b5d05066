"""What workers and producers tell of themselves while they work, for monitors. `app.events`.

    with app.connection_for_events() ...   # is not needed:
    receiver = app.events.Receiver(handlers={"task-failed": print})
    receiver.capture()

A program that was written for Celery's events goes on as it is: give it `celery.events` by the drop-in, or
import these names.
"""

from __future__ import annotations

from celeriac.events.dispatcher import EventDispatcher
from celeriac.events.event import Event, group_from
from celeriac.events.receiver import EventReceiver
from celeriac.events.state import State

__all__ = ["Event", "EventDispatcher", "EventReceiver", "State", "group_from"]
