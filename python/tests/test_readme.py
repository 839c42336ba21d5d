"""The examples of README.md run as they stand."""

import json
import os
import re
import shlex
import shutil
import subprocess
import sys
import tempfile
import unittest

here = os.path.dirname(os.path.abspath(__file__))
with open(os.path.join(here, "..", "README.md"), encoding="utf-8") as file:
    examples = re.findall(r"```python\n(.*?)```", file.read(), re.DOTALL)


class Readme(unittest.TestCase):
    def setUp(self):
        self.folder = tempfile.mkdtemp(prefix="cairn-")
        self.addCleanup(shutil.rmtree, self.folder, ignore_errors=True)
        self.environment = {
            **os.environ,
            "CAIRN_DIR": os.path.join(self.folder, "store"),
            "CAIRN_SOCKET": os.path.join(self.folder, "run", "agent.sock"),
        }

    def run_it(self, program):
        path = os.path.join(self.folder, "job.py")
        with open(path, "w", encoding="utf-8") as file:
            file.write(program)
        words = [sys.executable, path]
        try:
            ran = subprocess.run(words, cwd=self.folder, env=self.environment, stdout=subprocess.PIPE, check=True)
            return ran.stdout.decode()
        finally:
            # It would linger.
            subprocess.run([sys.executable, "-c", end_of_agent], env=self.environment, check=True)

    def test_a_job_of_four_processes(self):
        self.assertLessEqual(len([line for line in examples[0].splitlines() if line]), 11)
        self.assertEqual(self.run_it(examples[0]), "8 parts\n")
        command = [*shlex.split(os.environ["CAIRN_COMMAND"]), "entries", "--json", "job.cairn", "partition"]
        ran = subprocess.run(command, cwd=self.folder, stdout=subprocess.PIPE, check=True)
        entries = [json.loads(line) for line in ran.stdout.decode().splitlines()]
        self.assertEqual(
            [(entry["key"], entry["value"], entry["worker"]) for entry in entries],
            [(["partition", part, "rows"], 1_000 * part, f"part-{part}") for part in range(8)],
        )

    def test_the_job_is_that_of_the_first_page(self):
        with open(os.path.join(here, "..", "..", "README.md"), encoding="utf-8") as file:
            self.assertIn(f"```python\n{examples[0]}```", file.read())

    def test_what_there_is(self):
        checks = 0

        def check(match):
            nonlocal checks
            checks += 1
            indent, expression, expected = match.groups()
            return f"{indent}check({expression}, {expected})"

        program = re.sub(r"^( +)(.+?)  # => (.+)$", check, examples[1], flags=re.MULTILINE)
        self.assertGreater(checks, 5)
        prelude = "import cairn\ndef check(is_so, should_be):\n    assert is_so == should_be, is_so\n    print('ok')\n\n"
        self.assertEqual(self.run_it(prelude + program), "ok\n" * checks)


end_of_agent = """
import os, signal, time, cairn
pid = cairn.ContextStore()._connection.greeting["pid"]
os.kill(pid, signal.SIGKILL)
while os.path.exists(f"/proc/{pid}"):
    time.sleep(0.02)
"""

if __name__ == "__main__":
    unittest.main()
