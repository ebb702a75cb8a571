"""Sets keys one after the other, each again until redis says OK, and looks in the end whether all of them are there."""
import socket
import sys
import time

PORT, KEYS = int(sys.argv[1]), 300
link = None


def ask(*words):
    """The answer to a command, however often redis has to be asked."""
    global link
    request = f"*{len(words)}\r\n" + "".join(f"${len(word)}\r\n{word}\r\n" for word in words)
    for _ in range(200):
        try:
            if link is None:
                link = socket.create_connection(("127.0.0.1", PORT), timeout=5).makefile("rwb")
            link.write(request.encode())
            link.flush()
            line = link.readline()
            if line.startswith(b"$") and line != b"$-1\r\n":
                line = link.readline()
            if line.endswith(b"\n") and not line.startswith((b"-LOADING", b"-MISCONF")):
                return line.decode().strip()
        except OSError:
            pass
        link = None
        time.sleep(0.05)
    sys.exit("redis does not come back")


for key in range(KEYS):
    answer = ask("SET", f"key-{key}", f"value-{key}")
    if answer != "+OK":
        sys.exit(f"redis says {answer}")
for key in range(KEYS):
    if (answer := ask("GET", f"key-{key}")) != f"value-{key}":
        sys.exit(f"key-{key} is lost: {answer}")
