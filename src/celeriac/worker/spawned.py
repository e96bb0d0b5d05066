"""The main module of a spawned child: reads its order, imports the app, lives."""

from __future__ import annotations

import os
import sys

import msgspec

from celeriac.worker.births import ORDER, Order


def main() -> int:
    """Exit code of the child."""
    order = msgspec.json.decode(os.environ.pop(ORDER), type=Order)
    if order.options.pool == "gevent":
        from gevent import monkey

        monkey.patch_all()
    # Only now, because importing them imports what gevent patches.
    from celeriac.worker.finding import find_app
    from celeriac.worker.household import Household
    from celeriac.worker.living import live
    from celeriac.worker.slots import Slots

    app = find_app(order.options.app_spec or "")
    for name, value in order.options.overrides.items():
        app.conf.pin(name, value)
    slots = Slots(order.slots, order.rooms, order.descriptor)
    household = Household(app, order.options, slots, order.limits, order.meters, order.totals)
    household.import_app()
    household.start_logging()
    return live(household, order.plan, order.index, order.lines)


if __name__ == "__main__":
    sys.exit(main())
