"""What every driver must do, as tests that any driver's author runs.

    class TestMine(BrokerConformance, ResultConformance):
        @pytest.fixture
        def open_broker(self, tmp_path):
            return partial(my_driver.open_broker, f"mine://{tmp_path}")

        @pytest.fixture
        def open_results(self, tmp_path):
            return partial(my_driver.open_results, f"mine://{tmp_path}")

A driver that keeps schedules too has ScheduleConformance and the fixture open_schedules.

Each call of such a function opens one more connection to one store, which is empty when a test starts. A
broker settles results into the store of `open_results`. `BusConformance` asks for a fixture `open_bus` in
the same way. Both functions can be pickled, for a second process
opens them too; a driver that lives in one process says `one_process = True`. Needs pytest and hypothesis.
"""

from __future__ import annotations

from celeriac.testing.conformance.bus import BusConformance
from celeriac.testing.conformance.conservation import Conserving
from celeriac.testing.conformance.counting import Counting
from celeriac.testing.conformance.fates import Fates
from celeriac.testing.conformance.looking import Looking
from celeriac.testing.conformance.owners import Owners
from celeriac.testing.conformance.pausing import Pausing
from celeriac.testing.conformance.results import ResultConformance
from celeriac.testing.conformance.revokes import Revokes
from celeriac.testing.conformance.scheduling import ScheduleConformance
from celeriac.testing.conformance.sending import Sending
from celeriac.testing.conformance.waiting import Waiting

__all__ = ["BrokerConformance", "BusConformance", "ResultConformance", "ScheduleConformance"]


class BrokerConformance(Sending, Fates, Counting, Owners, Revokes, Waiting, Looking, Pausing, Conserving):
    """Everything that `Broker` promises, and the laws of delivery."""
