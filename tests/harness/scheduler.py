"""Hands the suite's files out to pytest-xdist's workers, and comes to an end when a worker crashes.

xdist's own scheduler for whole files (3.8) runs a test that crashed its worker again in the next worker, and so
crashes that one, too. It hands a replacement one file and then may wait for ever, since a worker holds its last
test back until it knows what comes next. And it fails where a second worker goes down before the replacement of
the first is ready.
"""

from xdist.scheduler import LoadFileScheduling


class FileScheduler(LoadFileScheduling):
    def remove_node(self, node):
        """Forgets a worker and returns the test that it crashed in, which isn't run again."""
        work = self.assigned_work.pop(node)
        left = [test for file in work.values() for test, done in file.items() if not done]
        if not left:
            return None
        crashed = left[0]
        for file, tests in work.items():
            if crashed in tests:
                tests[crashed] = True
            if not all(tests.values()):
                self.workqueue[file] = tests
        for other in self.nodes:
            self._reschedule(other)
        return crashed

    def _reschedule(self, node):
        if node.shutting_down or node not in self.registered_collections:
            return
        while self.workqueue and self._pending_of(self.assigned_work[node]) < 2:
            self._assign_work_unit(node)
        if not self.workqueue:
            node.shutdown()
