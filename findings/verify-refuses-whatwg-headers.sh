#!/usr/bin/env bash
# Guess: the webhook libraries for JavaScript take the Headers object of a web-standard Request (Next.js, Workers, Deno, Bun), which is where most handlers get their headers today.
# Really: svix 2.5.0 and standardwebhooks 1.1.1 read properties of a plain object, so a correctly signed request is refused with "Missing required headers"; Object.fromEntries(request.headers) is accepted. Seen 2026-12-01.
set -euo pipefail
dir=$(mktemp -d)
trap 'rm -rf "$dir"' EXIT
cd "$dir"
cat >package.json <<'JSON'
{"private": true, "type": "module", "dependencies": {"svix": "2.5.0", "standardwebhooks": "1.1.1"}}
JSON
npm install --ignore-scripts --no-audit --no-fund --loglevel=error >/dev/null 2>&1
cat >look.mjs <<'JS'
import { Webhook as Svix } from 'svix';
import { Webhook as Standard } from 'standardwebhooks';
const secret = 'whsec_C2FVsBQIhrscChlQIMV+b5sSYspob7oD', body = '{"type":"a.b"}', now = new Date();
const request = new Request('https://example.com/', { method: 'POST', body, headers: {
  'webhook-id': 'msg_1', 'webhook-timestamp': String(Math.floor(now / 1000)), 'webhook-signature': new Standard(secret).sign('msg_1', now, body) } });
for (const [name, Library] of Object.entries({ svix: Svix, standardwebhooks: Standard })) {
  for (const [what, headers] of [['request.headers', request.headers], ['Object.fromEntries(request.headers)', Object.fromEntries(request.headers)]]) {
    let outcome = 'accepted';
    try { new Library(secret).verify(body, headers); } catch (err) { outcome = err.message; }
    console.log(`${name}, ${what}: ${outcome}`);
  }
}
JS
node look.mjs | tee seen
diff - seen <<'SEEN'
svix, request.headers: Missing required headers
svix, Object.fromEntries(request.headers): accepted
standardwebhooks, request.headers: Missing required headers
standardwebhooks, Object.fromEntries(request.headers): accepted
SEEN
