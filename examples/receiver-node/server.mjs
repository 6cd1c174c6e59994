// Receives webhooks and prints each request and whether it verified.
//
//   WEBHOOK_SECRET=whsec_… PORT=9000 node server.mjs

import express from 'express';
import { verified } from './verify.mjs';

const secrets = (process.env.WEBHOOK_SECRET ?? '').split(/\s+/).filter(Boolean);
if (secrets.length === 0) {
  // Anyone could sign with an empty key.
  console.error('Set WEBHOOK_SECRET to the secret that was shown when the webhook was created.');
  process.exit(1);
}

const app = express();
app.disable('x-powered-by');
// Express accepts 100 KB by default. An event can have 256 KiB, or more
// if the sender is configured so.
app.use(express.json({ limit: process.env.BODY_LIMIT ?? '1mb' }));

app.post('/{*path}', (req, res) => {
  const ok = verified(req.body, req.get('X-Webhook-Signature'), secrets);
  // This signature does not cover the ID, but every attempt has the same ID:
  // store it with your changes, and skip a delivery whose ID is stored already.
  const id = req.get('webhook-id');
  print(ok ? 'VERIFIED' : 'REFUSED ', req.get('X-Webhook-Event') ?? '-', id ?? '-', 'attempt', req.get('X-Webhook-Attempt') ?? '-', JSON.stringify(req.body));
  res.sendStatus(ok ? 200 : 401);
});

// Handles bodies that are not JSON or too large.
app.use((err, req, res, next) => {
  print('REFUSED ', err.message);
  if (res.headersSent) return next(err);
  res.sendStatus(err.status ?? 500);
});

// print replaces characters that control a terminal.
function print(...words) {
  const line = words.map((word) => String(word).slice(0, 4096)).join('  ');
  console.log(new Date().toISOString() + '  ' + line.replace(/[\p{C}\p{Zl}\p{Zp}]/gu, (c) => '\\u{' + c.codePointAt(0).toString(16) + '}'));
}

const server = app.listen(Number(process.env.PORT ?? 9000), '127.0.0.1', (err) => {
  if (err) {
    console.error(err.message);
    process.exit(1);
  }
  const { port } = server.address();
  console.log(`Listening on http://127.0.0.1:${port}. Ctrl-C ends it.

A sender elsewhere cannot reach this address. Open a tunnel to it in another terminal,
    cloudflared tunnel --url http://127.0.0.1:${port}
    ngrok http ${port}
or any other, and register the https URL that it shows as the webhook's URL.
`);
});

for (const signal of ['SIGINT', 'SIGTERM']) {
  process.once(signal, () => {
    server.close(); // ends after the requests in progress
    server.closeIdleConnections();
  });
}
