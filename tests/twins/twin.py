"""Pairs of small programs, one for each thing that a scenario tells apart: `twin.py KIND good|bad`. The good one does its
work in spite of the faults; the bad one makes one usual mistake, and says which when it fails."""
import ctypes
import fcntl
import json
import os
import signal
import socket
import subprocess
import sys
import threading
import time

KIND, GOOD = sys.argv[1], sys.argv[2] == "good"


def fail(why):
    print(why, file=sys.stderr)
    sys.exit(1)


def retry(act, times=40, pause=0.02, errors=OSError):
    """Calls until it succeeds; the bad twin calls once."""
    for left in reversed(range(times if GOOD else 1)):
        try:
            return act()
        except errors as error:
            if left == 0:
                fail(f"gave up: {error}")
            time.sleep(pause)
            pause = min(pause * 1.5, 0.5)


# Files.

def write_all(fd, data):
    while data:
        data = data[os.write(fd, data):]


def replace(path, data):
    """All of it or nothing."""
    fd = os.open(path + ".new", os.O_WRONLY | os.O_CREAT | os.O_TRUNC)
    write_all(fd, data)
    os.fsync(fd)
    os.close(fd)
    os.rename(path + ".new", path)


def writer(pause=0.02, ballast=0, each=lambda: None):
    """Twelve records. The bad one leaves a lock behind when it is killed, and takes it for somebody else's."""
    if GOOD:
        lock = os.open("lock", os.O_RDWR | os.O_CREAT)
        fcntl.flock(lock, fcntl.LOCK_EX)
    else:
        try:
            os.close(os.open("lock", os.O_RDWR | os.O_CREAT | os.O_EXCL))
        except FileExistsError:
            fail("another one is at work: there is a lock")
    for number in range(12):
        if os.path.exists(f"record-{number}"):
            continue
        held = bytearray(ballast)
        each()
        replace(f"record-{number}", json.dumps({"number": number, "text": "x" * 500}).encode())
        del held
        time.sleep(pause)
    for number in range(12):
        with open(f"record-{number}") as file:
            assert json.load(file)["number"] == number
    os.unlink("lock")


def handoff():
    """Numbers go by JSON files. The bad reader takes them as they are."""
    for number in range(20):
        body = {"number": number, "price": number * 7, "pad": "x" * 300}

        def whole():
            with open("handoff.json", "w") as file:
                json.dump(dict(body, sum=sum(json.dumps(body).encode())), file)
            with open("handoff.json", errors="replace") as file:
                text = file.read()
            try:
                read = json.loads(text)
            except ValueError as error:
                raise OSError("no JSON") from error
            if GOOD and read.pop("sum", None) != sum(json.dumps(read).encode()):
                raise OSError("the sum is wrong")
            return read
        read = retry(whole)
        read.pop("sum", None)
        if read != body:
            fail("a damaged handoff was taken for whole")


def disk():
    """Reads and writes a file again and again; the bad one does not try again."""
    def once():
        fd = os.open("data", os.O_RDWR | os.O_CREAT)
        try:
            write_all(fd, b"y" * 1000)
            os.fsync(fd)
            os.lseek(fd, 0, 0)
            if os.read(fd, 2000) != b"y" * 1000:
                raise OSError("other bytes")
        finally:
            os.close(fd)
    for _ in range(100):
        retry(once)


def log():
    """A log of two megabytes. The good one drops its older half when the disk is full."""
    fd = os.open("log", os.O_WRONLY | os.O_CREAT | os.O_APPEND)
    for _ in range(200):
        line = b"z" * 9999 + b"\n"
        try:
            write_all(fd, line)
        except OSError as error:
            if not GOOD:
                fail(f"cannot log: {error}")
            os.ftruncate(fd, 0)
            write_all(fd, line)


def short():
    for _ in range(30):
        fd = os.open("out", os.O_WRONLY | os.O_CREAT | os.O_TRUNC)
        write_all(fd, b"x" * 1000) if GOOD else os.write(fd, b"x" * 1000)
        os.close(fd)
        if os.path.getsize("out") != 1000:
            fail("the file is not whole")


def slow_disk():
    begin = time.monotonic()
    for _ in range(60):
        with open("out", "w") as file:
            file.write("x")
    if not GOOD and time.monotonic() - begin > 0.25:
        fail("my own time limit has passed")


def together():
    """Four processes count in one file. The bad ones go on when the lock is not theirs."""
    replace("count", b"0")

    def count():
        lock = os.open("lock", os.O_RDWR | os.O_CREAT)
        for _ in range(25):
            try:
                retry(lambda: fcntl.flock(lock, fcntl.LOCK_EX))
            except SystemExit:
                pass
            with open("count") as file:
                number = int(file.read() or 0)
            replace("count", str(number + 1).encode()) if GOOD else open("count", "w").write(str(number + 1))
            try:
                retry(lambda: fcntl.flock(lock, fcntl.LOCK_UN))
            except SystemExit:
                pass
    children = []
    for _ in range(4):
        child = os.fork()
        if child == 0:
            try:
                count()
            except Exception:
                os._exit(1)
            os._exit(0)
        children.append(child)
    codes = [os.waitpid(child, 0)[1] for child in children]
    with open("count") as file:
        total = file.read()
    if total != "100" or any(codes):
        fail(f"counted {total} of 100")


# The network: a server in a thread, on a free port of loopback.

BODY = b"answer " * 60


def serve(listener):
    def one(peer):
        try:
            with peer:
                if peer.recv(100):
                    peer.sendall(len(BODY).to_bytes(4, "big") + BODY)
        except OSError:
            pass
    while True:
        try:
            threading.Thread(target=one, args=(listener.accept()[0],), daemon=True).start()
        except OSError:
            pass


def server():
    listener = socket.create_server(("127.0.0.1", 0))
    threading.Thread(target=serve, args=(listener,), daemon=True).start()
    return listener.getsockname()


def ask(address, timeout=20, whole=True):
    with socket.create_connection(address, timeout=timeout) as peer:
        peer.sendall(b"question")
        data = b""
        while more := peer.recv(4096):
            data += more
            if len(data) >= 4 + len(BODY):
                break
    if whole and data != len(BODY).to_bytes(4, "big") + BODY:
        raise OSError("half an answer")
    return data


def client(count=12, timeout=20.0, impatient=20.0, pause=0.0):
    """Asks again when there is no whole answer; the bad one asks once, with its own patience."""
    address = server()
    for _ in range(count):
        retry(lambda: ask(address, timeout if GOOD else impatient, True), pause=0.1)
        time.sleep(pause)


def careless_client():
    """The bad one takes half an answer for a whole one."""
    address = server()
    for _ in range(12):
        data = retry(lambda: ask(address, whole=GOOD), pause=0.05)
        if len(data) != 4 + len(BODY):
            fail("half an answer was taken for a whole one")


def impatient():
    """Never waits for long; the bad one waits for ever. Both ask again."""
    address = server()
    for _ in range(5):
        for left in reversed(range(10)):
            try:
                ask(address, 0.5 if GOOD else None)
                break
            except OSError as error:
                if left == 0:
                    fail(f"gave up: {error}")


def names():
    for _ in range(15):
        retry(lambda: socket.getaddrinfo("localhost", 80))


def paced():
    """Waits ever longer before it tries again; the bad one tries again at once."""
    address = server()
    pause = 0.05
    for _ in range(500):
        try:
            return ask(address)
        except OSError:
            if GOOD:
                time.sleep(pause)
                pause *= 2
    fail("gave up")


def breaker():
    """Opens after three failures for 400 ms, then sends one probe; the bad one goes on asking."""
    address = server()
    failures, done, until = 0, 0, time.monotonic() + 30
    while done < 10 and time.monotonic() < until:
        try:
            ask(address)
            failures, done = 0, done + 1
        except OSError:
            failures += 1
        time.sleep(0.4 if GOOD and failures >= 3 else 0.02)
    if done < 10:
        fail("gave up")


def limiter():
    """At most ten attempts a second; the bad one a hundred."""
    address = server()
    done = 0
    while done < 5:
        time.sleep(0.1 if GOOD else 0.01)
        try:
            ask(address)
            done += 1
        except OSError:
            pass


def mixed():
    """Ten questions. The bad one crashes at the first that fails; the good one says how many are missing."""
    address = server()
    missing = 0
    for _ in range(10):
        try:
            ask(address)
        except OSError:
            if not GOOD:
                os.abort()
            missing += 1
    print(missing, "of 10 are missing")
    sys.exit(3 if missing else 0)


def fail_fast():
    address = server()
    for _ in range(5 if GOOD else 10000):
        try:
            ask(address)
        except OSError:
            time.sleep(0.05)
    print("cannot be reached", file=sys.stderr)
    sys.exit(2)


def fallback():
    """Two addresses; the bad one knows the first alone."""
    first, second = server(), server()
    for _ in range(3):
        try:
            return ask(first)
        except OSError:
            pass
    if GOOD:
        return ask(second)
    fail("the first choice is down")


def requests():
    """Asks while it holds its lock, as `writer` holds it."""
    address = server()
    writer(pause=0, each=lambda: retry(lambda: ask(address), times=3, pause=0.01))


# Processes, memory, time.

def spawner():
    for _ in range(12):
        retry(lambda: subprocess.run(["/bin/true"], check=True))


def storm():
    """A bit of everything; the bad one tries nothing again."""
    address = server()
    errors = (OSError, MemoryError, subprocess.SubprocessError)
    for number in range(25):
        retry(lambda: replace("out", str(number).encode()), errors=errors)
        retry(lambda: ask(address), errors=errors)
        retry(lambda: subprocess.run(["/bin/true"], check=True), errors=errors)
        retry(lambda: bytearray(100_000), errors=errors)


def metric(name, value):
    if path := os.environ.get("CHAOS_METRICS"):
        with open(path, "a") as file:
            file.write(f"{name} {value}\n")


def replay():
    """Ten tools, recorded, and replayed fifty times. The bad one runs one of them again."""
    recorded = {n: subprocess.run(["/bin/echo", str(n)], check=True, capture_output=True).stdout for n in range(10)}
    ctypes.CDLL(None).chaos_mark(b"replay")
    # The phase begins within milliseconds of the mark.
    time.sleep(0.2)
    for number in range(500):
        assert recorded[number % 10]
    if not GOOD:
        subprocess.run(["/bin/echo", "9"], check=True)
    metric("replays", 500)


def graceful():
    """Saves and says that it has not finished; the bad one leaves a lock behind."""
    def end(*_):
        sys.exit(143)
    if GOOD:
        signal.signal(signal.SIGTERM, end)
    writer(pause=0.08)


def leases():
    """Holds a lease of a second for a tenth of one. The bad one dates it by the wall clock."""
    clock = time.monotonic if GOOD else time.time
    for _ in range(15):
        end = clock() + 1
        time.sleep(0.1)
        print(time.strftime("%X"), "at work")
        if clock() > end:
            fail("lost a lease that was held")


def fenced():
    """Writes under a lease of two seconds. The bad one does not look whether it still has it."""
    for number in range(30):
        end = time.monotonic() + 2
        time.sleep(0.1)
        # The good one looks right before it writes, and takes a new lease when it must.
        if GOOD and time.monotonic() > end:
            continue
        if time.monotonic() > end:
            fail("wrote under a lease that has passed")
        with open("out", "w") as file:
            file.write(str(number))


def sweep():
    """A hundred leases expire when the clock jumps. The bad one takes them up one by one, with a pause each."""
    leases = {number: time.time() + 3000 for number in range(100)}
    until = time.monotonic() + 20
    while not any(end < time.time() for end in leases.values()):
        if time.monotonic() > until:
            fail("nothing has expired")
        time.sleep(0.05)
    for number, end in leases.items():
        if end < time.time():
            leases[number] = time.time() + 3000
            time.sleep(0 if GOOD else 0.08)
    metric("leases_recovered", len(leases))


def beating():
    """A worker says that it lives. The bad detector calls it dead after 60 ms."""
    beat = [time.monotonic()]
    over = threading.Event()

    def work():
        for number in range(40):
            with open("out", "w") as file:
                file.write(str(number))
            beat[0] = time.monotonic()
        over.set()
    threading.Thread(target=work, daemon=True).start()
    while not over.wait(0.01):
        if time.monotonic() - beat[0] > (5 if GOOD else 0.06):
            fail("called dead, and was alive")


def allocate():
    """The good one does with less when there is no memory for more."""
    for _ in range(4000):
        retry(lambda: bytearray(4000), errors=MemoryError, pause=0)


def large():
    try:
        held = bytearray(200 << 20)
        held[0] = 1
    except MemoryError:
        if not GOOD:
            fail("no memory")
        for _ in range(20):
            held = bytearray(10 << 20)


def cache():
    """Reads everything twice. The bad one reads it from the disk each time, and is no faster."""
    for number in range(20):
        replace(f"page-{number}", b"p" * 100)
    held, hits, took = {}, 0, []
    for _ in range(2):
        begin = time.monotonic()
        for number in range(20):
            if number in held:
                hits += 1
                continue
            with open(f"page-{number}") as file:
                page = file.read()
            if GOOD:
                held[number] = page
        took.append(time.monotonic() - begin)
    metric("cache_hit_rate", hits / 20)
    metric("second_pass_speedup", round(took[0] / max(took[1], 1e-9), 1))


def busy():
    """Computes; the bad one has a time limit that leaves no room for others."""
    begin, used = time.monotonic(), time.process_time()
    while time.process_time() - used < 0.6:
        pass
    # Of four who compute on two processors nobody gets one alone.
    if not GOOD and time.monotonic() - begin > 0.6 * 1.25:
        fail("my own time limit has passed")


def beside():
    """Says what the load beside it holds, as the kernel has it; the bad one cannot bear anybody beside it."""
    held = 0
    for pid in filter(str.isdigit, os.listdir("/proc")):
        try:
            with open(f"/proc/{pid}/cmdline") as file:
                words = file.read().split("\0")
            with open(f"/proc/{pid}/stat") as file:
                parent = int(file.read().rsplit(") ", 1)[1].split()[1])
            with open(f"/proc/{pid}/statm") as file:
                pages = int(file.read().split()[1])
        except OSError:
            continue
        if parent == os.getppid() and "load" in words:
            held = max(held, pages * 4096)
    print("held", held >> 20, "MB")
    if not GOOD and held:
        fail("there is a load beside it")
    if not held:
        fail("there is no load")


KINDS = {
    "writer": writer, "slow-writer": lambda: writer(pause=0.08), "heavy": lambda: writer(ballast=2 << 20),
    "graceful": graceful, "requests": requests, "handoff": handoff, "disk": disk, "log": log, "short": short,
    "slow-disk": slow_disk, "together": together, "client": client, "slow-client": lambda: client(30, pause=0.1),
    "patient": lambda: client(4, impatient=0.05), "careless": careless_client, "impatient": impatient, "names": names,
    "paced": paced, "breaker": breaker, "limiter": limiter, "mixed": mixed, "fail-fast": fail_fast,
    "fallback": fallback, "spawner": spawner, "replay": replay, "leases": leases, "fenced": fenced, "sweep": sweep,
    "beating": beating, "allocate": allocate, "large": large, "cache": cache, "busy": busy, "beside": beside,
    "storm": storm,
}
KINDS[KIND]()
