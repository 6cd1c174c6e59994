# Needs only Python's standard library. In Flask or Django, call verify() with
# the raw body (request.get_data(), request.body) and the headers.
import base64, hashlib, hmac, json, os, time
from http.server import BaseHTTPRequestHandler, HTTPServer

secret = os.environ["WEBHOOK_SECRET"]
if len(secret) < 24:
    raise SystemExit("WEBHOOK_SECRET is not set")  # anyone can sign with an empty key
key = base64.b64decode(secret.removeprefix("whsec_"))

def verify(body, headers):
    sent_at = headers.get("webhook-timestamp", "")
    if not sent_at.isdecimal() or abs(time.time() - int(sent_at)) > 300:
        return None  # too old: it may have been captured and sent again
    signed = f"{headers.get('webhook-id', '')}.{sent_at}.".encode() + body
    want = b"v1," + base64.b64encode(hmac.new(key, signed, hashlib.sha256).digest())
    entries = headers.get("webhook-signature", "").encode().split()
    if not any(hmac.compare_digest(want, entry) for entry in entries):
        return None
    return json.loads(body)

class Receiver(BaseHTTPRequestHandler):
    def do_POST(self):
        body = self.rfile.read(int(self.headers.get("content-length", 0)))
        event = verify(body, self.headers)
        self.send_response(204 if event else 401)
        self.end_headers()
        if event:  # every retry has the same ID: skip IDs that you have handled
            print(self.headers["webhook-id"], event["event"], event["data"], flush=True)

HTTPServer(("", int(os.environ.get("PORT", 9000))), Receiver).serve_forever()
