"""A backend of the demo: answers every request with its own name. usage: backend.py ADDRESS PORT NAME"""

import http.server
import sys

address, port, name = sys.argv[1], int(sys.argv[2]), sys.argv[3]


class Backend(http.server.BaseHTTPRequestHandler):
    def do_GET(self):
        body = f"{name}\n".encode()
        self.send_response(200)
        self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        self.wfile.write(body)

    def log_message(self, *_):
        pass


server = http.server.ThreadingHTTPServer((address, port), Backend)
print("ready", flush=True)
server.serve_forever()
