"""A push that is killed, at every step and at 200 random points: the old release or the new one runs, and never a mix.

The device's part really runs, with real files, environments and pip; before one of its file operations, or while one
of its programs runs, all of its processes are killed, as a power cut would end them.
"""

import random
import shutil
import subprocess
from concurrent.futures import ThreadPoolExecutor

from edgekit.errors import EdgekitError
from edgekit_deploy.fleet import keys
from edgekit_deploy.fleet.push import push_to
from support import tiny_model
from support.fleet import Local, leftovers, make, small_wheel, state

KILLS = 200
# In the agent: each operation on files and each program that is started counts; the wanted one is not done any more, or
# a while after a program was started.
PRELUDE = """
import signal, sys, threading
EVENTS = ("open", "os.rename", "os.symlink", "os.link", "os.mkdir", "os.remove", "os.rmdir", "os.chmod",
          "subprocess.Popen", "tempfile.mkdtemp", "shutil.copyfile", "shutil.rmtree")
count = 0
def end():
    os.killpg(0, signal.SIGKILL)
def hook(event, args):
    global count
    if event not in EVENTS or (event == "open" and not str(args[0]).startswith({root!r})):
        return
    count += 1
    if count == {at}:
        if event == "subprocess.Popen":
            threading.Timer({delay}, end).start()
        else:
            end()
sys.addaudithook(hook)
import atexit
atexit.register(lambda: os.write(os.open({log!r}, os.O_WRONLY | os.O_CREAT | os.O_TRUNC), str(count).encode()))
"""


def quiet(host, text):
    pass


class Scenario:
    """A push onto a device that is put into the same state again and again.

    Args:
        folder: A place of its own.
        make_old: Of a root, the bundle that runs; None: nothing yet.
        make_new: Of a root, the bundle that is pushed.
        kills: How often.
        does_well: Or its service does not start.
    """

    def __init__(self, folder, make_old, make_new, kills, does_well=True):
        self.root, self.saved, self.log = folder / "root", folder / "saved", folder / "count"
        self.kills, self.does_well = kills, does_well
        self.old = ""
        if make_old:
            self.old = push_to(make_old(self.root), "pi", Local(), quiet)
        else:
            self.root.mkdir(parents=True)
        subprocess.run(["cp", "-a", self.root, self.saved], check=True)
        self.bundle = make_new(self.root)
        self.push(-1, 0.0)
        self.operations = int(self.log.read_text())
        self.new = f"{self.bundle.facts['number']}-"

    def push(self, at, delay):
        """With the agent killed at an operation; -1: not at all."""
        prelude = PRELUDE.format(root=str(self.root), at=at, delay=delay, log=str(self.log))
        try:
            push_to(self.bundle, "pi", Local(prelude=prelude), quiet)
        except EdgekitError:
            assert at > 0 or not self.does_well

    def restore(self):
        """As it was; what environments hold is never changed, and need not be copied."""
        shutil.rmtree(self.root)
        subprocess.run(["cp", "-al", self.saved, self.root], check=True)

    def check(self, at, delay):
        """Kill there: the old or the new release is active, whole; then the next push succeeds and cleans up."""
        self.restore()
        self.push(at, delay)
        active = state(self.root)
        assert active == self.old or active.startswith(self.new), (at, delay)
        self.push(-1, 0.0)
        active = state(self.root)
        assert active.startswith(self.new) if self.does_well else active == self.old, (at, delay)
        assert leftovers(self.root) == [], (at, delay)


def scenarios(folder):
    """All of them: KILLS together."""
    keys.generate(folder / "fleet.pem", None)
    key = keys.load(folder / "fleet.pem", None)
    models = [folder / "one.tflite", folder / "two.tflite"]
    for seed, path in enumerate(models):
        path.write_bytes(tiny_model.sealed(seed=seed))
    first, second = ([small_wheel(folder, version)] for version in ("1.0", "2.0"))

    def bundle(model, wheels, number, **service):
        return lambda root: make(models[model], wheels, root, number, key, **service)

    old = bundle(0, first, 1)
    fails = "case $(readlink current) in */2-*) false;; esac"
    # Those that make environments take seconds each; what they share with the others is tried there.
    return [
        Scenario(folder / "first", None, bundle(0, first, 1), kills=14),
        Scenario(folder / "wheel", old, bundle(1, second, 2), kills=14),
        Scenario(folder / "model", old, bundle(1, first, 2), kills=86),
        Scenario(folder / "service", old, bundle(1, first, 2, restart=fails), kills=86, does_well=False),
    ]


def kill_all(folder):
    """Kill them all, each scenario by itself; gives how many operations there are to be killed at."""
    built = scenarios(folder)
    assert sum(scenario.kills for scenario in built) == KILLS

    def kill(numbered):
        seed, scenario = numbered
        generator = random.Random(seed)
        for _ in range(scenario.kills):
            scenario.check(generator.randrange(1, scenario.operations + 1), generator.uniform(0.0, 2.0))
        return scenario.operations

    with ThreadPoolExecutor(len(built)) as pool:
        return sum(pool.map(kill, enumerate(built)))
