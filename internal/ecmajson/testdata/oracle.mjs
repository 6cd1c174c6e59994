// Answers, for each JSON text on standard input, what a JavaScript engine makes
// of it. A text is 4 bytes of length, little-endian, and the bytes. An answer is
// one byte (0: fine, 1: JSON.parse threw, 2: JSON.stringify threw), the length
// and JSON.stringify(JSON.parse(text)), which is empty after a throw.
import { readSync, writeSync } from 'node:fs';

const utf8 = new TextDecoder('utf-8', { ignoreBOM: true });
const stdin = 0, stdout = 1;

function fill(buffer) {
  for (let at = 0; at < buffer.length;) {
    const n = readSync(stdin, buffer, at, buffer.length - at);
    if (n === 0) {
      if (at === 0) return false;
      throw new Error('standard input ended within a text');
    }
    at += n;
  }
  return true;
}

function answer(bytes) {
  let value;
  try {
    value = JSON.parse(utf8.decode(bytes));
  } catch {
    return [1, ''];
  }
  try {
    return [0, JSON.stringify(value)];
  } catch {
    return [2, ''];
  }
}

// Texts come in batches (their number, 4 bytes) and are answered in batches, so
// that neither side waits for room in a pipe while the other does.
const word = Buffer.alloc(4);
while (fill(word)) {
  const parts = [];
  for (let left = word.readUInt32LE(); left > 0; left--) {
    fill(word);
    const bytes = Buffer.alloc(word.readUInt32LE());
    fill(bytes);
    const [status, text] = answer(bytes);
    const body = Buffer.from(text, 'utf8');
    const head = Buffer.alloc(5);
    head.writeUInt8(status);
    head.writeUInt32LE(body.length, 1);
    parts.push(head, body);
  }
  const all = Buffer.concat(parts);
  for (let at = 0; at < all.length;) at += writeSync(stdout, all, at);
}
