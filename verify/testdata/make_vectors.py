#!/usr/bin/env python3
"""Writes vectors.json: signatures that OpenSSL, Node and Python agree on.

None of the three is Go, so a mistake in this module cannot hide in its own
expectations. Run it in this folder:

    python3 make_vectors.py > vectors.json

It needs python3, openssl (3.0 or later) and node in the PATH. The same
commands by hand, for one vector:

    printf %s "$BODY" | openssl dgst -sha256 -hmac "$SECRET"
    printf %s "$ID.$TIME.$BODY" | openssl dgst -sha256 -mac HMAC -macopt hexkey:$KEY -binary | base64
    node -e 'crypto.createHmac("sha256", secret).update(body).digest("hex")'
"""
import base64, hashlib, hmac, json, subprocess, sys, tempfile

NODE = """
const crypto = require('crypto'), fs = require('fs')
const d = Buffer.from(JSON.parse(fs.readFileSync(0)).message, 'base64')
const key = Buffer.from(process.argv[1], 'hex')
process.stdout.write(crypto.createHmac('sha256', key).update(d).digest('hex'))
"""
# Formed as the sender must: stable under JSON.stringify(JSON.parse(body)).
ENVELOPE = '{"event":"%s","webhook":{"id":"wh_1","name":"%s"},"timestamp":"2024-01-15T11:45:00.000000Z","data":%s}'
REPEAT = 1048576 - len(ENVELOPE % ("big.event", "n", '{"s":""}'))

def data(d):
    return ENVELOPE % ("row.event", "n", d)

BODIES = [
    ("empty body", "", 0),
    ("empty object", "{}", 0),
    ("agent.message", ENVELOPE % ("agent.message", "My hook", '{"agent":{"id":"ag_1","name":"Ada"},"room":"r7Kq","content":"hello"}'), 0),
    ("unicode", ENVELOPE % ("user.message", "Wébhøøk 钩子 🪝", '{"agent":{"id":"a","name":"Ünïcødé"},"user":{"id":"u","name":"عمر"},"room":{"id":"r","name":"部屋"},"content":"👩‍👩‍👧 é é \ufffd"}'), 0),
    ("1 MiB", ENVELOPE % ("big.event", "n", '{"s":"%s"}'), REPEAT),
    ("row 1: < > &", data('{"a":"<script>&amp;</script>"}'), 0),
    ("row 2: U+2028 U+2029", data('{"a":"\u2028\u2029"}'), 0),
    ("row 3: no trailing newline", data('{}'), 0),
    ("row 4, 5: replaced UTF-8", data('{"a":"\ufffd"}'), 0),
    ("row 6: negative zero", data('{"a":0}'), 0),
    ("row 7: 2^53 and a string beyond", data('{"a":9007199254740992,"b":"9223372036854775807"}'), 0),
    ("row 8: numbers", data('{"a":1,"b":100,"c":0.1,"d":1e-7,"e":1e+21}'), 0),
    ("row 9: extremes", data('{"a":1.7976931348623157e+308,"b":5e-324,"c":0}'), 0),
    ("row 10: integer-like keys", data('{"0":1,"2":2,"10":3,"4294967294":4,"b":5,"01":6,"-1":7,"1.5":8,"4294967295":9}'), 0),
    ("row 11: one of duplicate keys", data('{"a":2,"b":1}'), 0),
    ("row 12: escapes", data('{"a":"/A\u00e9\\b\x7f\\u001f\U0001f600\\"\\\\"}'), 0),
    ("row 13: lone surrogate", data('{"a":"\\ud83d","b":"\\ud83dA"}'), 0),
    ("row 14, 15: no white space, no BOM", data('{"a":[1,2,{"b":null}]}'), 0),
    ("row 16: nesting", data('{"a":' + "[" * 200 + "]" * 200 + "}"), 0),
    ("row 17: odd keys", data('{"constructor":1,"toJSON":2,"":3}'), 0),
]
SECRETS = [
    "whsec_" + base64.b64encode(bytes(range(32))).decode(),
    "an-imported-secret-of-24+bytes",
]
ID, TIME = "msg_2KWPBgLlAfxdpx2AI54pPJ85f4W", 1705319105

def mac(key, message):
    with tempfile.NamedTemporaryFile() as f:
        f.write(message)
        f.flush()
        ssl = subprocess.run(["openssl", "dgst", "-sha256", "-mac", "HMAC", "-macopt", "hexkey:" + key.hex(), "-binary", f.name],
                             check=True, capture_output=True).stdout.hex()
    node = subprocess.run(["node", "-e", NODE, key.hex()], check=True, capture_output=True,
                          input=json.dumps({"message": base64.b64encode(message).decode()}).encode()).stdout.decode()
    py = hmac.new(key, message, hashlib.sha256).hexdigest()
    if not ssl == node == py:
        sys.exit(f"they disagree: openssl {ssl}, node {node}, python {py}")
    return bytes.fromhex(py)

vectors = []
for name, text, repeat in BODIES:
    body = (text % ("a" * repeat) if repeat else text).encode()
    for secret in SECRETS:
        key = base64.b64decode(secret[6:]) if secret.startswith("whsec_") else secret.encode()
        vectors.append({
            "name": name, "secret": secret, "id": ID, "timestamp": TIME,
            "body": text, "repeat": repeat,
            "plain": mac(secret.encode(), body).hex(),
            "v1": base64.b64encode(mac(key, f"{ID}.{TIME}.".encode() + body)).decode(),
        })
json.dump(vectors, sys.stdout, indent=1, ensure_ascii=True)
print()
