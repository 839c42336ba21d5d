"""Threads, forks, pickles, agents that are killed, and agents that are not there."""

import concurrent.futures
import multiprocessing
import os
import pickle
import shutil
import signal
import subprocess
import sys
import tempfile
import textwrap
import threading
import time
import unittest

import cairn
from support import Agent, AgentTest, eventually


def use_in_another_process(store, number):
    """What a task of Spark or Dask does."""
    store.set(("pickled", number), number)
    store.counter("pickled").add()
    store.flush()
    return store.get(("pickled", number))


def write_and_end(store, number):
    """Leaves the last word to the end of the process."""
    store.set(("ended", number), number)
    store.counter("ended").add(number)


#: Functions of the standard library that make an attempt, or wait. (Locks that are held for moments are taken by ``with``, which calls nothing by name.)
_ATTEMPTS = {"connect", "sendall", "send", "recv", "poll", "select", "sleep", "acquire", "getsockopt", "setsockopt", "socket", "posix_spawn", "fork_exec"}


def calls_in_c(act):
    """Names of what is called in C meanwhile, in this thread."""
    called = set()

    def note(frame, event, function):
        if event == "c_call":
            called.add(function.__name__)

    sys.setprofile(note)
    try:
        act()
    finally:
        sys.setprofile(None)
    return called


class Processes(AgentTest):
    def test_threads_share_a_store(self):
        store = self.store()
        wrong = []

        def work(thread):
            for i in range(200):
                key = ("thread", thread, i)
                store.set(key, [thread, i])
                store.counter("threads").add()
                if i % 20 == 0 and store.get(key) != [thread, i]:
                    wrong.append(key)

        threads = [threading.Thread(target=work, args=(thread,)) for thread in range(8)]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
        self.assertEqual(wrong, [])
        self.assertEqual(store.counter("threads").value, 1_600)
        self.assertEqual(store.count_keys(("thread",)), 1_600)
        self.assertTrue(store.flush())
        self.assertEqual(store.health.pending, 0)

    def test_a_store_goes_on_after_a_fork(self):
        store = self.store()
        store.set(("fork", "parent"), 1)
        store.counter("fork").add()
        children = []
        for number in range(4):
            child = os.fork()
            if child == 0:
                # Whatever happens here must not go on as the test.
                try:
                    store.set(("fork", number), store.get(("fork", "parent")))
                    store.counter("fork").add(10)
                    os._exit(0 if store.flush() else 1)
                finally:
                    os._exit(2)
            children.append(child)
        store.counter("fork").add()
        self.assertEqual([os.waitpid(child, 0)[1] for child in children], [0, 0, 0, 0])
        self.assertEqual(store.counter("fork").value, 42)
        self.assertEqual(store.count_keys(("fork",)), 5)

    def test_a_process_that_ends_has_sent_everything(self):
        for method in ("fork", "spawn"):
            store = self.store()
            context = multiprocessing.get_context(method)
            processes = [context.Process(target=write_and_end, args=(store, n)) for n in (1, 2)]
            for process in processes:
                process.start()
            for process in processes:
                process.join()
            self.assertEqual([process.exitcode for process in processes], [0, 0])
            self.assertEqual(store.read([("ended", 1), ("ended", 2)]), [1, 2])
        self.assertEqual(store.counter("ended").value, 6)

    def test_a_store_is_pickled_into_tasks(self):
        store = self.store(worker="driver")
        spawn = multiprocessing.get_context("spawn")
        with concurrent.futures.ProcessPoolExecutor(2, mp_context=spawn) as pool:
            found = list(pool.map(use_in_another_process, [store] * 4, range(4)))
        self.assertEqual(found, [0, 1, 2, 3])
        self.assertEqual(store.counter("pickled").value, 4)
        self.assertEqual(store.entry(("pickled", 0)).worker, "driver")
        self.assertEqual(pickle.loads(pickle.dumps(cairn.ContextKeyError("a", "b"))).message, "a")


class Killed(unittest.TestCase):
    def setUp(self):
        folder = tempfile.mkdtemp(prefix="cairn-")
        self.addCleanup(shutil.rmtree, folder, ignore_errors=True)
        self.agent = Agent(folder)
        self.addCleanup(self.agent.end)

    def test_nothing_is_lost_or_done_twice(self):
        stores = [cairn.ContextStore(self.agent.socket, buffered=buffered) for buffered in (True, False)]
        watched = stores[0].watch(("write",))
        done = [0, 0]
        is_over = threading.Event()

        def write(which):
            store = stores[which]
            while not is_over.is_set():
                i = done[which]
                store.set(("write", which, i), i)
                store.counter("writes").add()
                store.progress("writes").done(f"{which}/{i}")
                with store.batch() as batch:
                    batch.append("write", [which, i])
                    batch.observe("write", i)
                done[which] = i + 1
                if i % 200 == 0:
                    store.get(("write", which, i))

        threads = [threading.Thread(target=write, args=(which,)) for which in (0, 1)]
        for thread in threads:
            thread.start()
        for _ in range(3):
            before = list(done)
            eventually(lambda: done[0] > before[0] + 100 and done[1] > before[1] + 3)
            self.agent.kill()
            self.agent.start()
        eventually(lambda: all(store.health.reconnects == 3 for store in stores))
        is_over.set()
        for thread in threads:
            thread.join()
        for store in stores:
            self.assertTrue(store.flush())
            self.assertEqual((store.health.lost, store.health.refused, store.health.pending), (0, 0, 0))
        store = stores[0]
        self.assertEqual(store.counter("writes").value, sum(done))
        self.assertEqual(store.progress("writes").count, sum(done))
        self.assertEqual(store.statistic("write").summary().count, sum(done))
        self.assertEqual(
            sorted(event.data for event in store.journal.events("write")),
            [[which, i] for which in (0, 1) for i in range(done[which])],
        )
        self.assertEqual(
            store.entries(("write",)),
            [(("write", which, i), i) for which in (0, 1) for i in range(done[which])],
        )
        # Whoever watches is told that the agent is another one, and goes on with it.
        self.assertTrue(any(change.is_gap for change in watched))
        store.set(("write", "last"), True)
        self.assertIn(("write", "last"), (change.key for change in watched))
        watched.close()
        for store in stores:
            store.close()

    def test_without_an_agent_a_strict_store_says_so_and_keeps_what_was_written(self):
        store = cairn.ContextStore(self.agent.socket, timeout=0.2)
        self.agent.end()
        store.set(("kept",), 1)
        for call in (store.flush, lambda: store.get(("kept",)), lambda: store.wait_for(key=("x",), timeout=0.1)):
            with self.assertRaises(cairn.ContextStoreError) as raised:
                call()
            self.assertEqual(raised.exception.code, "TIMEOUT")
        self.assertEqual((store.health.is_reachable, store.health.pending), (False, 1))
        with self.assertRaises(cairn.ContextStoreError):
            cairn.ContextStore(self.agent.socket)
        self.agent.start()
        eventually(lambda: store.health.is_reachable and store.health.pending == 0)
        self.assertEqual(store.get(("kept",)), 1)
        store.close()

    def test_a_store_that_is_not_strict_never_raises_and_goes_on_later(self):
        store = cairn.ContextStore(self.agent.socket, strict=False)
        store.set(("before",), 1)
        self.assertEqual(store.get(("before",)), 1)
        self.agent.kill()
        self.every_call(store)
        for i in range(5_000):
            store.counter("kept").add()
        health = store.health
        self.assertFalse(health.is_reachable)
        self.assertGreater(health.pending, 5_000)
        self.assertGreater(health.missed, 10)
        self.assertEqual(health.lost, 0)
        self.assertGreater(health.refused, 0)
        self.agent.start()
        eventually(lambda: store.health.is_reachable and store.health.pending == 0)
        self.assertEqual(store.counter("kept").value, 5_000)
        self.assertEqual(store.health.reconnects, 1)
        store.close()
        self.every_call(store)

    def test_an_agent_that_hangs_is_given_up(self):
        store = cairn.ContextStore(self.agent.socket, strict=False, timeout=0.2)
        os.kill(self.agent.process.pid, signal.SIGSTOP)
        try:
            self.every_call(store)
            self.assertFalse(store.health.is_reachable)
        finally:
            os.kill(self.agent.process.pid, signal.SIGCONT)
        eventually(lambda: store.health.pending == 0)
        self.assertEqual(store.get(("key",)), 1)
        store.close()

    def test_who_writes_sends_what_is_enough_and_never_waits_for_an_agent_that_does_not_read(self):
        for strict in (True, False):
            store = cairn.ContextStore(self.agent.socket, strict=strict, worker=f"strict-{strict}", timeout=60)
            counter, lines = store.counter("written"), []

            def write():
                for _ in range(10):
                    lines.append(len(lines))
                    counter.add()
                    with store.batch() as batch:
                        for i in range(100):
                            batch.set(("waiting", i), "x" * 200)
                        batch.count("written", 1)

            # Now and then the sender is at it.
            eventually(lambda: "send" in calls_in_c(write))
            os.kill(self.agent.process.pid, signal.SIGSTOP)
            try:
                # Far more than the system takes for who does not read.
                called = calls_in_c(lambda: [write() for _ in range(9)])
                self.assertEqual(called & _ATTEMPTS - {"send", "recv", "acquire"}, set())
                self.assertEqual((store.health.is_reachable, store.health.lost), (True, 0))
            finally:
                os.kill(self.agent.process.pid, signal.SIGCONT)
            self.assertTrue(store.flush())
            self.assertEqual((counter.by_worker()[f"strict-{strict}"], store.count_keys(("waiting",))), (2 * len(lines), 100))
            self.assertEqual((store.health.pending, store.health.reconnects), (0, 0))
            store.close()

    def test_what_is_too_much_is_given_up_and_counted(self):
        store = cairn.ContextStore(self.agent.socket, strict=False)
        self.agent.kill()
        store.get(("x",))
        for i in range(100):
            store.set(("much", i), "x" * 900_000)
        health = store.health
        self.assertEqual(health.lost + health.pending, 100)
        self.assertGreater(health.lost, 10)
        self.agent.start()
        eventually(lambda: store.health.pending == 0)
        self.assertEqual(store.count_keys(("much",)), 100 - health.lost)
        store.close()

    def test_no_agent_ever(self):
        store = cairn.ContextStore(os.path.join(self.agent.folder, "nobody"), strict=False)
        self.every_call(store)
        store.close()
        store = cairn.ContextStore(None, strict=False)
        self.every_call(store)
        store.close()

    def test_without_an_agent_no_call_connects_or_waits(self):
        """Whatever a call costs, it is no attempt: those are made by a thread of the client's own. What is called in C is counted, in this thread alone."""
        nobody = cairn.ContextStore(os.path.join(self.agent.folder, "nobody"), strict=False)
        killed = cairn.ContextStore(self.agent.socket, strict=False)
        killed.set(("before",), 1)
        killed.flush()
        self.agent.kill()
        try:
            # The first call after it was killed finds out.
            self.assertIsNone(killed.get(("before",)))
            for store in (nobody, killed):
                # While something waits to be sent the thread that sends it is there.
                store.set(("waits",), 1)
                before = store.health
                self.assertEqual(calls_in_c(lambda: store.get(("key",))) & {"monotonic", *_ATTEMPTS}, set())
                for _ in range(20):
                    self.assertEqual(calls_in_c(lambda: self.every_call(store)) & _ATTEMPTS, set())
                after = store.health
                self.assertEqual((after.reconnects, after.lost), (0, 0))
                self.assertGreaterEqual(after.missed - before.missed, 20 * 20)
                self.assertGreater(after.pending, before.pending + 100)
        finally:
            self.agent.start()
        # What would be counted, is: a store that is strict looks for the agent by itself.
        self.assertLessEqual({"connect", "sendall", "recv"}, calls_in_c(lambda: cairn.ContextStore(self.agent.socket).close()))
        for store in (nobody, killed):
            store.close()

    def test_at_its_end_a_process_waits_for_another_agent_and_says_what_is_lost(self):
        program = textwrap.dedent(
            '''
            import sys, cairn
            store = cairn.ContextStore(sys.argv[1], strict=False)
            store.set(("before",), True)
            assert store.flush()
            print("ready", flush=True)
            sys.stdin.readline()
            for i in range(10):
                store.set(("after", i), i)
            store.set(("bad",), object())
            sys.exit(7)
            '''
        )
        for comes_back in (True, False):
            words = [sys.executable, "-c", program, self.agent.socket]
            pipes = {"stdin": subprocess.PIPE, "stdout": subprocess.PIPE, "stderr": subprocess.PIPE}
            with subprocess.Popen(words, text=True, **pipes) as process:
                self.assertEqual(process.stdout.readline(), "ready\n")
                self.agent.kill()
                process.stdin.close()
                if comes_back:
                    self.agent.start()
                begun = time.monotonic()
                told = process.stderr.read()
            self.assertEqual(process.returncode, 7)
            self.assertLess(time.monotonic() - begun, 30)
            lost = "10 are not known to be on disk, " if not comes_back else ""
            self.assertRegex(told, f"^cairn: of the writes of this process {lost}1 were refused \\(.+\\)\\. `cairn doctor` says .*\\.\n$")
        self.agent.start()
        store = cairn.ContextStore(self.agent.socket)
        self.assertEqual((store.get(("before",)), store.count_keys(("after",))), (True, 10))
        store.close()

    def every_call(self, store):
        store.set(("key",), 1)
        store.set(("bad", 1.5), 1)
        store.set(("bad",), object())
        store.get(("key",)), store.get(5), store.read([("key",)]), store.entry(("key",)), store.delete(("gone",))
        store.list_keys(), store.entries(), store.count_keys(), store.conflicts(), store.names("counter")
        store.follow(["**"]), store.coverage(), store.fetch(["**"]), store.sync(everybody=True), store.rewind("tag")
        with store.batch() as batch:
            batch.set(("batch",), 1)
            batch.set(("bad",), object())
        with store.batch() as batch:
            batch.check(("batch",), None)
        with store.progress("step", total=3).work(1) as work:
            work.count("rows", 1)
            work.observe("x", [1.0])
        counter, progress, statistic = store.counter("rows"), store.progress("step", total=3), store.statistic("x")
        counter.add(2), counter.add(1.5), counter.value, counter.by_worker()
        progress.done(1), progress.done(-1), progress.count, progress.missing(), progress.has(1)
        store.progress("").done(1), store.progress("step").missing()
        statistic.observe(float("nan")), statistic.summary()
        store.journal.append("event", object()), store.journal.events()
        list(zip(range(0), store.watch(("key",)))), store.watch((1.5,))
        store.wait_for(key=("never",), timeout=0.01), store.wait_for(key=(1.5,))
        store.sync(0.1), store.checkpoint(), store.restore(), store.version()
        store.flush(), store.health, store.agent_health(), store.stats()


class Local(unittest.TestCase):
    def test_the_agent_is_started_joined_and_started_again(self):
        folder = tempfile.mkdtemp(prefix="cairn-")
        self.addCleanup(shutil.rmtree, folder, ignore_errors=True)
        places = {"dir": os.path.join(folder, "store"), "socket": os.path.join(folder, "run", "agent.sock")}
        with cairn.local(**places) as store, cairn.local(**places, worker="other") as other:
            other.set(("from",), "other")
            other.flush()
            self.assertEqual(store.get(("from",)), "other")
            pid = store._connection.greeting["pid"]
            self.assertEqual(other._connection.greeting["pid"], pid)
            other.counter("kills").add()
            os.kill(pid, signal.SIGKILL)
            other.counter("kills").add()
            self.assertEqual(other.counter("kills").value, 2)
            self.assertNotEqual(other._connection.greeting["pid"], pid)
            pid = other._connection.greeting["pid"]
            with self.assertRaises(cairn.ContextStoreError) as raised:
                cairn.local(socket=places["socket"], shared=os.path.join(folder, "elsewhere"))
            self.assertEqual(raised.exception.code, "OPTION_INVALID")
            cairn.local(socket=places["socket"], shared=os.path.join(folder, "elsewhere"), strict=False).close()
        os.kill(pid, signal.SIGKILL)
        eventually(lambda: not is_running(pid))

    def test_closing_waits_for_the_agent_that_is_started_again(self):
        folder = tempfile.mkdtemp(prefix="cairn-")
        self.addCleanup(shutil.rmtree, folder, ignore_errors=True)
        places = {"dir": os.path.join(folder, "store"), "socket": os.path.join(folder, "run", "agent.sock")}
        # A busy machine takes longer to start one.
        self.addCleanup(setattr, cairn, "_LAST_SECONDS", cairn._LAST_SECONDS)
        cairn._LAST_SECONDS = 60.0
        store = cairn.local(**places, strict=False)
        store.set(("before",), 1)
        self.assertTrue(store.flush())
        os.kill(store._connection.greeting["pid"], signal.SIGKILL)
        for i in range(10):
            store.set(("after", i), i)
        store.close()
        self.assertEqual((store.health.lost, store.health.pending), (0, 0))
        with cairn.local(**places) as other:
            self.assertEqual((other.get(("before",)), other.count_keys(("after",))), (1, 10))
            pid = other._connection.greeting["pid"]
        os.kill(pid, signal.SIGKILL)
        eventually(lambda: not is_running(pid))

    def test_without_a_command_it_says_what_to_do(self):
        environment = dict(os.environ)
        self.addCleanup(os.environ.update, environment)
        os.environ["CAIRN_COMMAND"] = "/nowhere/cairn"
        with self.assertRaises(cairn.ContextStoreError) as raised:
            cairn.local()
        self.assertIn("CAIRN_COMMAND", raised.exception.hint)
        cairn.local(strict=False).close()


def is_running(pid):
    try:
        os.kill(pid, 0)
        return True
    except ProcessLookupError:
        return False


if __name__ == "__main__":
    unittest.main()
