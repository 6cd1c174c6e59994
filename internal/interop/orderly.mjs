// An HTTP/2 server of Node's that ends each of its sessions in order, with GOAWAY,
// when A_SESSION requests have come on it, and that allows AT_ONCE of them at a time.
// It prints its port, and then the ID of each event that it has taken.
import http2 from 'node:http2';

const { TLS_CERT: cert, TLS_KEY: key, AT_ONCE, A_SESSION } = process.env;
const server = http2.createSecureServer({ cert, key, settings: { maxConcurrentStreams: Number(AT_ONCE) } });
server.on('session', (session) => {
  let left = Number(A_SESSION);
  session.on('error', () => {});
  session.on('stream', (stream, headers) => {
    left -= 1;
    if (left === 0) session.close();
    stream.on('error', () => {});
    stream.resume();
    stream.on('end', () => {
      console.log(headers['webhook-id']);
      stream.respond({ ':status': 200 });
      stream.end('ok');
    });
  });
});
server.listen(0, '127.0.0.1', () => console.log(server.address().port));
process.stdin.on('end', () => process.exit()).resume();
