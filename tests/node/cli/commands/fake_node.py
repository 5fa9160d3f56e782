"""Stands in for a node process: answers canned JSON over HTTP. Run as a script.

usage: fake_node.py ANSWERS.json node run --config FILE.yaml
`ANSWERS.json`: path → body; "primary": the node whose /primary is 200; "ends": a node that
complains and ends at once. As `devices simulate` it only waits for its end.
"""

import json
import re
import signal
import sys
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from urllib.parse import urlsplit

ANSWERS = json.loads(Path(sys.argv[1]).read_text())
if "simulate" in sys.argv:
    if ANSWERS.get("ends") == "devices":
        sys.exit("no such profile")
    signal.sigwait([signal.SIGTERM])
    sys.exit()
CONFIG = Path(sys.argv[sys.argv.index("--config") + 1]).read_text()
NODE = re.search(r"^node: (\S+)", CONFIG, re.MULTILINE)[1]
HOST, PORT = re.search(r"^http: (\S+):(\d+)", CONFIG, re.MULTILINE).groups()


class Answers(BaseHTTPRequestHandler):
    def do_GET(self) -> None:
        path = urlsplit(self.path).path
        if path == "/v1/cluster":
            status, body = 200, ANSWERS[path] | {"node": NODE}
        elif path in ANSWERS:
            status, body = 200, ANSWERS[path]
        elif path == "/primary":
            status, body = (200 if ANSWERS["primary"] == NODE else 503), {"node": NODE}
        else:
            status, body = (200 if path == "/livez" else 404), {"node": NODE}
        content = json.dumps(body).encode()
        self.send_response(status)
        self.send_header("Content-Length", str(len(content)))
        self.end_headers()
        self.wfile.write(content)

    def log_message(self, *_: object) -> None:
        pass


if ANSWERS.get("ends") == NODE:
    sys.exit("the journal is corrupt: move it away")
print("fake node listens", flush=True)
ThreadingHTTPServer((HOST, int(PORT)), Answers).serve_forever()
