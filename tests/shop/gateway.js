// The gateway: takes uploads and campaigns. The careful one writes each to a journal before it answers, knows by its key
// what it has taken already, and reads the journal when it starts; a line that is not whole was never answered.
const fs = require('fs');
const http = require('http');
const [port, variant] = process.argv.slice(2);
const careful = variant === 'careful';
const taken = new Map();
let all = [];
let journal;

if (careful) {
  journal = fs.openSync('gateway.journal', 'a+');
  const text = fs.readFileSync('gateway.journal', 'utf8');
  const whole = text.slice(0, text.lastIndexOf('\n') + 1);
  fs.ftruncateSync(journal, Buffer.byteLength(whole));
  for (const line of whole.split('\n').filter(Boolean)) taken.set(JSON.parse(line).key, true);
}

function take(path, body) {
  const entry = { ...body, path };
  if (!careful) {
    all.push(entry);
    fs.writeFileSync('gateway.json', JSON.stringify(all));
    return;
  }
  if (taken.has(body.key)) return;
  fs.appendFileSync(journal, JSON.stringify(entry) + '\n');
  fs.fsyncSync(journal);
  taken.set(body.key, true);
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
