import { createHmac, timingSafeEqual } from 'node:crypto';

// verified reports whether X-Webhook-Signature is the HMAC-SHA256 of the body under
// one of the secrets. The body is the object that express.json() has parsed:
// JSON.stringify turns it into the sent bytes again.
export function verified(body, signature, secrets) {
  // timingSafeEqual throws a RangeError if the lengths differ, and Buffer.from
  // silently cuts a text at the first character that is not hex: so check the form first.
  if (body === undefined || typeof signature !== 'string' || !/^[0-9a-f]{64}$/.test(signature)) {
    return false;
  }
  const text = JSON.stringify(body);
  const given = Buffer.from(signature, 'hex');
  let found = false;
  for (const secret of secrets) {
    const expected = createHmac('sha256', secret).update(text).digest();
    found = timingSafeEqual(given, expected) || found;
  }
  return found;
}
