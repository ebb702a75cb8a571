# nginx with two workers under ab and curl, reloaded and ended. Prints `case NAME: OUTCOME`.
set -eu
port=$(python3 -c 'import socket; s = socket.create_server(("127.0.0.1", 0)); print(s.getsockname()[1])')
mkdir -p html temp
chmod -R a+rX . && chmod a+rwx temp
seq 30000 > html/large.txt
echo hello > html/small.txt
cat > nginx.conf <<END
daemon off;
worker_processes 2;
pid $PWD/nginx.pid;
error_log $PWD/error.log info;
events { worker_connections 256; }
http {
    access_log $PWD/access.log;
    client_body_temp_path $PWD/temp/1; proxy_temp_path $PWD/temp/2; fastcgi_temp_path $PWD/temp/3;
    uwsgi_temp_path $PWD/temp/4; scgi_temp_path $PWD/temp/5;
    types { text/plain txt; }
    sendfile on; gzip on; gzip_types text/plain;
    server {
        listen 127.0.0.1:$port;
        root $PWD/html;
        location /again/ { proxy_pass http://127.0.0.1:$port/; }
    }
}
END
# Workers of another user must reach the files.
dir=$PWD; while [ "$dir" != / ]; do [ -x "$dir" ] && dir=$(dirname "$dir"); done
nginx -p "$PWD" -c nginx.conf -e error.log &
server=$!
for _ in $(seq 600); do curl -s -o answer "http://127.0.0.1:$port/small.txt" && break; sleep 0.05; done
load() { ab -q -n "$1" -c "$2" "${@:4}" "http://127.0.0.1:$port/$3" 2>&1 | grep -E '^(Complete|Failed|Non-2xx|Write errors|Document Length)' | tr -s ' \n' '  '; }
echo "case small: $(load 4000 20 small.txt -k)"
echo "case large: $(load 500 10 large.txt)"
echo "case proxied: $(load 1000 10 again/large.txt)"
echo "case not found: $(load 500 10 nothing)"
echo "case content: $(curl -s "http://127.0.0.1:$port/again/large.txt" | cksum)"
echo "case gzip: $(curl -s --compressed "http://127.0.0.1:$port/large.txt" | cksum)"
kill -HUP "$server"
sleep 0.5
echo "case reloaded: $(load 1000 10 small.txt)"
kill -QUIT "$server"
wait "$server" && code=0 || code=$?
echo "case stopped: $code"
echo "case requests: $(grep -c '" 200 ' access.log) $(grep -c '" 404 ' access.log)"
echo "case errors: $(grep -v 'nothing" failed (2: No such file' error.log | grep -c -E '\[(error|crit|alert|emerg)\]' || :)"
