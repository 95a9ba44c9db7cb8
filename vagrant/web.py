"""A backend of the tour: answers every request with where it is. usage: web.py PORT WHERE"""

import http.server
import sys

port, where = int(sys.argv[1]), sys.argv[2]


class Web(http.server.BaseHTTPRequestHandler):
    def do_GET(self):
        body = f"{where}\n".encode()
        self.send_response(200)
        self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        self.wfile.write(body)

    def log_message(self, *_):
        pass


http.server.ThreadingHTTPServer(("", port), Web).serve_forever()
