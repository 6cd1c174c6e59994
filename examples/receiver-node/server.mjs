// Receives webhooks and prints what arrives and whether it verified.
//
//   WEBHOOK_SECRET=whsec_… PORT=9000 node server.mjs

import express from 'express';
import { verified } from './verify.mjs';

const secrets = (process.env.WEBHOOK_SECRET ?? '').split(/\s+/).filter(Boolean);
if (secrets.length === 0) {
  // An empty key would verify anybody's signature.
  console.error('Set WEBHOOK_SECRET to the secret that was shown when the webhook was created.');
  process.exit(1);
}

const app = express();
app.disable('x-powered-by');
// Express takes 100 KB unless told otherwise; an event can be 256 KiB, and more
// where the sender was configured so.
app.use(express.json({ limit: process.env.BODY_LIMIT ?? '1mb' }));

app.post('/{*path}', (req, res) => {
  const ok = verified(req.body, req.get('X-Webhook-Signature'), secrets);
  // The ID is not covered by this signature, but it is the same for every attempt:
  // store it with what you do, and do nothing when it is there already.
  const id = req.get('webhook-id');
  print(ok ? 'VERIFIED' : 'REFUSED ', req.get('X-Webhook-Event') ?? '-', id ?? '-', 'attempt', req.get('X-Webhook-Attempt') ?? '-', JSON.stringify(req.body));
  res.sendStatus(ok ? 200 : 401);
});

// Bodies that are not JSON, or too large, end here.
app.use((err, req, res, next) => {
  print('REFUSED ', err.message);
  if (res.headersSent) return next(err);
  res.sendStatus(err.status ?? 500);
});

// print shows nothing that a terminal would obey.
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
    server.close(); // ends when what is being answered has been
    server.closeIdleConnections();
  });
}
