import { createHmac, timingSafeEqual } from 'node:crypto';

// verified says whether X-Webhook-Signature is the HMAC-SHA256 of the body under
// one of the secrets. The body is the object that express.json() has parsed: what
// JSON.stringify makes of it is, byte for byte, what was sent.
export function verified(body, signature, secrets) {
  // timingSafeEqual throws a RangeError when the lengths differ, and Buffer.from
  // cuts off what is not hex without a word: so the form is checked first.
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
