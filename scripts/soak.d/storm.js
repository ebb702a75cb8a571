// Worker threads, an HTTP server with many clients, files, children: the event loop and libuv's pool at work.
// Prints `case NAME: OUTCOME`.
'use strict';
const { Worker, isMainThread, parentPort, workerData } = require('worker_threads');
const crypto = require('crypto');
const fs = require('fs');
const http = require('http');
const { spawn } = require('child_process');
const zlib = require('zlib');

const digest = (data) => crypto.createHash('sha256').update(data).digest('hex').slice(0, 16);
const say = (name, outcome) => console.log(`case ${name}: ${outcome}`);

if (!isMainThread) {
  const shared = new Int32Array(workerData.shared);
  for (let i = 0; i < 20000; i++) Atomics.add(shared, 0, 1);
  fs.writeFileSync(`worker-${workerData.number}`, Buffer.alloc(100000, workerData.number));
  parentPort.postMessage(digest(fs.readFileSync(`worker-${workerData.number}`)));
} else {
  main().catch((error) => { console.error(error); process.exit(1); });
}

async function workers() {
  const shared = new SharedArrayBuffer(4);
  const one = (number) => new Promise((resolve, reject) => {
    const worker = new Worker(__filename, { workerData: { shared, number } });
    worker.on('message', resolve).on('error', reject);
  });
  const digests = await Promise.all([1, 2, 3, 4].map(one));
  say('workers', `${new Int32Array(shared)[0]} ${digests.join(' ')}`);
}

function get(port, path, agent) {
  return new Promise((resolve, reject) => {
    const request = http.get({ host: '127.0.0.1', port, path, agent }, (response) => {
      const parts = [];
      response.on('data', (part) => parts.push(part)).on('end', () => resolve(Buffer.concat(parts))).on('error', reject);
    });
    request.on('error', reject);
  });
}

async function server() {
  const listener = http.createServer((request, response) => {
    const size = Number(request.url.slice(1));
    response.setHeader('Content-Type', 'text/plain');
    response.end(Buffer.alloc(size, 'x'));
  });
  await new Promise((resolve) => listener.listen(0, '127.0.0.1', resolve));
  const { port } = listener.address();
  const agent = new http.Agent({ keepAlive: true, maxSockets: 20 });
  const sizes = Array.from({ length: 600 }, (_, n) => n * 37);
  const bodies = await Promise.all(sizes.map((size) => get(port, `/${size}`, agent)));
  say('http', `${bodies.filter((body, n) => body.length === sizes[n]).length} whole of ${sizes.length}`);
  say('http large', digest(await get(port, '/9000000', agent)));
  agent.destroy();
  await new Promise((resolve) => listener.close(resolve));
}

async function files() {
  const data = Buffer.from(Array.from({ length: 300000 }, (_, n) => n % 251));
  await Promise.all(Array.from({ length: 40 }, (_, n) => fs.promises.writeFile(`file-${n}`, data.subarray(0, n * 7000))));
  const read = await Promise.all(Array.from({ length: 40 }, (_, n) => fs.promises.readFile(`file-${n}`)));
  say('files', digest(Buffer.concat(read)));
  const stream = fs.createWriteStream('stream.gz');
  const gzip = zlib.createGzip();
  gzip.pipe(stream);
  for (let n = 0; n < 20; n++) gzip.write(data);
  gzip.end();
  await new Promise((resolve) => stream.on('close', resolve));
  say('gzip', digest(zlib.gunzipSync(fs.readFileSync('stream.gz'))));
}

function child(number) {
  return new Promise((resolve, reject) => {
    const cat = spawn('cat');
    const parts = [];
    cat.stdout.on('data', (part) => parts.push(part));
    cat.on('error', reject).on('close', (code) => resolve(`${code} ${Buffer.concat(parts).length}`));
    cat.stdin.end(Buffer.alloc(number * 50000, 'y'));
  });
}

async function main() {
  await workers();
  await server();
  await files();
  say('children', (await Promise.all([1, 2, 3, 4, 5, 6].map(child))).join(', '));
  const started = process.hrtime.bigint();
  await new Promise((resolve) => setTimeout(resolve, 50));
  say('timer', process.hrtime.bigint() - started >= 49000000n ? 'waited' : 'did not wait');
}
