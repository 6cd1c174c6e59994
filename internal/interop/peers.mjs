// Receivers in one process, for the tests of this folder. Each checks a request
// with code that is not of this project and answers 200, or 401 with the reason:
//
//   /standardwebhooks/NAME  npm package standardwebhooks
//   /svix/NAME              npm package svix, 2.x
//   /svix1/NAME             npm package svix, 1.x
//   /v1a/NAME               Ed25519 by node:crypto; NAME is a public key
//   /plain/NAME             the receiver of the documentation, behind Express or Fastify
//
// NAME stands for a secret that standard input has set: one JSON object a line,
// {"name":…,"secret":…}, each acknowledged by a line on standard output. The
// first line there tells the ports.

import { createHmac, createPublicKey, timingSafeEqual, verify } from 'node:crypto';
import http from 'node:http';
import http2 from 'node:http2';
import https from 'node:https';
import { createInterface } from 'node:readline';
import express from 'express';
import fastify from 'fastify';
import { Webhook as StandardWebhook } from 'standardwebhooks';
import { Webhook as SvixWebhook } from 'svix';
import { Webhook as Svix1Webhook } from 'svix1';

const secrets = new Map();

// documented is the receiver of the README: verify throws or does not, and what it
// returns is not looked at.
const documented = (Library) => (secret, raw, headers) => {
  new Library(secret).verify(raw, headers);
  return JSON.parse(raw);
};

const libraries = {
  standardwebhooks: documented(StandardWebhook),
  svix: documented(SvixWebhook),
  svix1: documented(Svix1Webhook),
  v1a: verifyEd25519,
};

function verifyEd25519(publicKey, raw, headers) {
  const x = Buffer.from(publicKey.replace(/^whpk_/, ''), 'base64').toString('base64url');
  const key = createPublicKey({ key: { kty: 'OKP', crv: 'Ed25519', x }, format: 'jwk' });
  const content = Buffer.concat([Buffer.from(`${headers['webhook-id']}.${headers['webhook-timestamp']}.`), raw]);
  const entries = headers['webhook-signature'].split(' ').filter((entry) => entry.startsWith('v1a,'));
  if (!entries.some((entry) => verify(null, content, key, Buffer.from(entry.slice('v1a,'.length), 'base64')))) {
    throw new Error(`none of ${entries.length} v1a signatures matches`);
  }
}

// handle checks the bytes as they came in.
async function handle(req, res) {
  const [, library, name] = req.url.split('/');
  const chunks = [];
  for await (const chunk of req) chunks.push(chunk);
  try {
    const event = libraries[library](secrets.get(name), Buffer.concat(chunks), req.headers);
    if (library !== 'v1a' && typeof event?.event !== 'string') throw new Error(`verified, and yet there is no event: ${event}`);
    res.writeHead(200).end(`ok over HTTP/${req.httpVersion}`);
  } catch (err) {
    res.writeHead(401).end(String(err.message));
  }
}

// plain is the receiver of the documentation, with nothing added to it: it throws
// when the header is missing or has another length.
function plain(name, req) {
  const expected = createHmac('sha256', secrets.get(name)).update(JSON.stringify(req.body)).digest('hex');
  return timingSafeEqual(Buffer.from(req.headers['x-webhook-signature']), Buffer.from(expected));
}

const app = express();
app.post('/plain/:name', express.json({ limit: '1mb' }), (req, res) => {
  res.sendStatus(plain(req.params.name, req) ? 200 : 401);
});
app.use((req, res) => handle(req, res));
app.use((err, req, res, next) => res.status(err.status ?? 500).send(err.message));

const fast = fastify();
fast.post('/plain/:name', async (req, reply) => {
  reply.code(plain(req.params.name, req) ? 200 : 401);
  return '';
});

const tls = { key: process.env.TLS_KEY, cert: process.env.TLS_CERT };
const listen = (server) =>
  new Promise((resolve) => server.listen(0, '127.0.0.1', () => resolve(server.address().port)));
await fast.listen({ port: 0, host: '127.0.0.1' });
const ports = {
  http: await listen(http.createServer(app)),
  https: await listen(https.createServer(tls, app)),
  http2: await listen(http2.createSecureServer(tls, handle)),
  fastify: fast.server.address().port,
};
console.log(JSON.stringify(ports));

for await (const line of createInterface({ input: process.stdin })) {
  const { name, secret } = JSON.parse(line);
  secrets.set(name, secret);
  console.log(JSON.stringify({ name }));
}
process.exit(0); // the test has closed standard input, or died
