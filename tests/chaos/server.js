// Serves documents, each read from the disk when it is asked for. New connections only, so that each request can fail.
const fs = require('fs');
const http = require('http');

fs.mkdirSync('documents', { recursive: true });
http.createServer((request, answer) => {
  request.on('error', () => {});
  answer.on('error', () => {});
  answer.setHeader('Connection', 'close');
  fs.readFile('documents/text', 'latin1', (error, text) => {
    if (error) {
      answer.statusCode = 500;
      answer.end();
      return;
    }
    const sum = [...text].reduce((sum, letter) => sum + letter.charCodeAt(0), 0);
    answer.end(JSON.stringify({ number: Number(request.url.slice(1)), sum, text }));
  });
}).listen(Number(process.argv[2]), '127.0.0.1');
fs.writeFileSync('documents/text', 'a line of text. '.repeat(40));
