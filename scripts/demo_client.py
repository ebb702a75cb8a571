"""Fetches a page twenty times from its own server on loopback, and tries again when the connection fails."""

import http.server
import threading
import time
import urllib.error
import urllib.request

PAGES = 20


class Hello(http.server.BaseHTTPRequestHandler):
    def do_GET(self):
        self.send_response(200)
        self.end_headers()
        self.wfile.write(b"hello\n")

    def log_message(self, *args):
        pass


# A proxy variable of this machine would lead the connections elsewhere.
direct = urllib.request.build_opener(urllib.request.ProxyHandler({}))


def fetch(url):
    """Returns how many attempts it took."""
    for attempt in range(1, 11):
        try:
            with direct.open(url, timeout=5) as answer:
                assert answer.read() == b"hello\n"
            return attempt
        except urllib.error.URLError as error:
            print(f"  attempt {attempt}: {error.reason}")
            time.sleep(0.01)
    raise SystemExit("gave up")


server = http.server.ThreadingHTTPServer(("127.0.0.1", 0), Hello)
threading.Thread(target=server.serve_forever, daemon=True).start()
url = f"http://127.0.0.1:{server.server_address[1]}/"
attempts = sum(fetch(url) for _ in range(PAGES))
print(f"{PAGES} pages in {attempts} attempts")
server.shutdown()
