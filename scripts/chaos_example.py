"""An example of a program that is meant to survive: it fetches numbers from its own server on loopback, asks a child
process to add them, and keeps the sum in a file. Whatever fails is tried again, many times and with a growing pause.
"""


def again(what, work, attempts=60):
    """Does the work until it succeeds; gives up after so many attempts."""
    pause = 0.01
    for attempt in range(1, attempts + 1):
        try:
            return work()
        # Also an import: it needs memory and files as everything else.
        except Exception as error:
            print(f"{what}, attempt {attempt}: {type(error).__name__}: {error}", flush=True)
            if attempt == attempts:
                raise SystemExit(f"{what}: gave up")
            if "time" in globals():
                time.sleep(pause)
                pause = min(2 * pause, 0.2)


time = again("import", lambda: __import__("time"))
os = again("import", lambda: __import__("os"))
socket = again("import", lambda: __import__("socket"))
threading = again("import", lambda: __import__("threading"))
subprocess = again("import", lambda: __import__("subprocess"))

NUMBERS = 20


def serve(listener):
    """Answers each connection with a square, for ever. A connection that fails is its client's loss."""
    while True:
        try:
            connection, _ = listener.accept()
            with connection:
                connection.settimeout(0.5)
                index = int(connection.recv(16))
                connection.sendall(b"%d\n" % (index * index))
        except Exception:
            time.sleep(0.001)


def listen():
    listener = socket.socket(socket.AF_INET, socket.SOCK_STREAM)
    listener.bind(("127.0.0.1", 0))
    listener.listen(16)
    listener.settimeout(0.5)
    return listener


def start(work, *arguments):
    thread = threading.Thread(target=work, args=arguments, daemon=True)
    thread.start()


def fetch(port, index):
    with socket.create_connection(("127.0.0.1", port), timeout=0.5) as connection:
        connection.sendall(b"%d\n" % index)
        answer = b""
        while not answer.endswith(b"\n"):
            part = connection.recv(64)
            if not part:
                raise OSError("cut short")
            answer += part
        return int(answer)


def add(numbers):
    words = "+".join(map(str, numbers))
    done = subprocess.run(["sh", "-c", f"echo $(({words}))"], capture_output=True, text=True, timeout=10)
    return int(done.stdout)


def keep(path, text):
    """Writes a file that is whole or not there."""
    with open(path + ".new", "w") as file:
        file.write(text)
        file.flush()
        os.fsync(file.fileno())
    os.replace(path + ".new", path)
    with open(path) as file:
        if file.read() != text:
            raise OSError("it does not hold what was written")


directory = again("directory", lambda: __import__("tempfile").mkdtemp(prefix="chaos-example-"))
listener = again("listen", listen)
for _ in range(8):
    again("thread", lambda: start(serve, listener))
port = listener.getsockname()[1]
numbers = [again("fetch", lambda: fetch(port, index)) for index in range(NUMBERS)]
total = again("add", lambda: add(numbers))
path = directory + "/sum.txt"
again("keep", lambda: keep(path, f"{total}\n"))
again("tidy", lambda: os.unlink(path))
again("tidy", lambda: os.rmdir(directory))
if total != sum(index * index for index in range(NUMBERS)):
    raise SystemExit(f"the sum is wrong: {total}")
print(f"the sum of {NUMBERS} squares is {total}")
