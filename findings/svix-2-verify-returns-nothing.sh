#!/usr/bin/env bash
# Guess: Webhook.verify of the npm package svix returns the parsed payload, as it always has and as standardwebhooks does.
# Really: from 2.0 on it returns undefined (1.99.1: the object; 2.5.0: undefined; both throw on a wrong signature), so `const event = wh.verify(…)` is undefined without any error. Seen 2026-12-01.
set -euo pipefail
dir=$(mktemp -d)
trap 'rm -rf "$dir"' EXIT
cd "$dir"
cat >package.json <<'JSON'
{"private": true, "type": "module", "dependencies": {"svix": "2.5.0", "svix1": "npm:svix@1.99.1", "standardwebhooks": "1.1.1"}}
JSON
npm install --ignore-scripts --no-audit --no-fund --loglevel=error >/dev/null 2>&1
cat >look.mjs <<'JS'
import { Webhook as Svix2 } from 'svix';
import { Webhook as Svix1 } from 'svix1';
import { Webhook as Standard } from 'standardwebhooks';
const secret = 'whsec_C2FVsBQIhrscChlQIMV+b5sSYspob7oD', body = '{"type":"a.b"}', now = new Date();
const headers = { 'webhook-id': 'msg_1', 'webhook-timestamp': String(Math.floor(now / 1000)), 'webhook-signature': new Standard(secret).sign('msg_1', now, body) };
for (const [name, Library] of Object.entries({ 'svix 1.99.1': Svix1, 'svix 2.5.0': Svix2, 'standardwebhooks 1.1.1': Standard })) {
  let forged = 'accepted';
  try { new Library(secret).verify(body + ' ', headers); } catch { forged = 'throws'; }
  console.log(`${name}: ${JSON.stringify(new Library(secret).verify(body, headers))}, forged: ${forged}`);
}
JS
node look.mjs | tee seen
diff - seen <<'SEEN'
svix 1.99.1: {"type":"a.b"}, forged: throws
svix 2.5.0: undefined, forged: throws
standardwebhooks 1.1.1: {"type":"a.b"}, forged: throws
SEEN
