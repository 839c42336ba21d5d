"""A real agent for tests: started by the command that ``CAIRN_COMMAND`` names, killed and started again where a test wants it."""

import json
import os
import shlex
import shutil
import signal
import subprocess
import tempfile
import time
import unittest

import cairn


def eventually(is_true, seconds=60.0):
    """Waits until something is true; fails the test where it does not come to be."""
    end = time.monotonic() + seconds
    while not is_true():
        if time.monotonic() > end:
            raise AssertionError("it did not come to be")
        time.sleep(0.01)


class Agent:
    def __init__(self, folder, *words):
        self.folder = folder
        self.socket = os.path.join(folder, "run", "agent.sock")
        self.words = ["--dir", os.path.join(folder, "store"), "--socket", self.socket, *words]
        self.process = None
        self.start()

    def start(self):
        command = [*shlex.split(os.environ["CAIRN_COMMAND"]), "agent", "--json", *self.words]
        self.process = subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.DEVNULL)
        line = self.process.stdout.readline()
        assert json.loads(line)["started"], line

    def kill(self):
        self.end(signal.SIGKILL)

    def end(self, how=signal.SIGTERM):
        if self.process is None:
            return
        self.process.send_signal(how)
        self.process.wait()
        self.process.stdout.close()
        self.process = None


class AgentTest(unittest.TestCase):
    """All tests of a class share an agent; each has a folder of its own."""

    @classmethod
    def setUpClass(cls):
        cls.folder = tempfile.mkdtemp(prefix="cairn-")
        cls.agent = Agent(cls.folder)

    @classmethod
    def tearDownClass(cls):
        cls.agent.end()
        shutil.rmtree(cls.folder, ignore_errors=True)

    def store(self, **options):
        store = cairn.ContextStore(self.agent.socket, **options)
        self.addCleanup(store.close)
        return store
