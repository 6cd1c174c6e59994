// Reads bodies, one a line in base64, and writes the number of each that
// JSON.stringify(JSON.parse(body)) does not give back, with what it gives. The
// last line is how many bodies were read.

import { createInterface } from 'node:readline';

const utf8 = new TextDecoder('utf-8', { fatal: true, ignoreBOM: true });
let read = 0;
for await (const line of createInterface({ input: process.stdin })) {
  read++;
  let result;
  try {
    const text = utf8.decode(Buffer.from(line, 'base64'));
    result = JSON.stringify(JSON.parse(text));
    if (result === text) continue;
  } catch (err) {
    result = String(err);
  }
  console.log(`${read} ${JSON.stringify(result)}`);
}
console.log(`read ${read}`);
