// The gateway: takes uploads and campaigns, and writes each to a journal before it answers. The careful one knows by its key
// what it has taken already, and reads the journal when it starts; a line that is not whole was never answered.
const fs = require('fs');
const http = require('http');
const [port, variant] = process.argv.slice(2);
const careful = variant === 'careful';
const taken = new Set();
const journal = fs.openSync('gateway.journal', 'a+');

if (careful) {
  const text = fs.readFileSync('gateway.journal', 'utf8');
  const whole = text.slice(0, text.lastIndexOf('\n') + 1);
  fs.ftruncateSync(journal, Buffer.byteLength(whole));
  for (const line of whole.split('\n').filter(Boolean)) taken.add(JSON.parse(line).key);
}

function take(path, body) {
  if (careful && taken.has(body.key)) return;
  fs.appendFileSync(journal, JSON.stringify({ ...body, path }) + '\n');
  if (!careful) return;
  fs.fsyncSync(journal);
  taken.add(body.key);
}

http.createServer((request, answer) => {
  let text = '';
  request.on('error', () => {});
  request.on('data', (part) => { text += part; });
  request.on('end', () => {
    try {
      if (request.method === 'POST') take(request.url, JSON.parse(text));
      answer.end('ok');
    } catch (error) {
      answer.statusCode = 500;
      answer.end(String(error));
    }
  });
}).listen(Number(port), '127.0.0.1');
