# sqlite.sh write|check [JOURNAL]: adds rows to a table with an index and counts them in another one, and looks whether
# both still agree. JOURNAL is a journal_mode of SQLite's.
set -eu
case $1 in
write)
    {
        echo ".timeout 10000"
        echo "PRAGMA journal_mode = $2; PRAGMA cache_size = 20;"
        echo "CREATE TABLE IF NOT EXISTS rows(id INTEGER PRIMARY KEY, text TEXT UNIQUE);"
        echo "CREATE TABLE IF NOT EXISTS counted(total INTEGER);"
        echo "INSERT INTO counted SELECT 0 WHERE NOT EXISTS (SELECT * FROM counted);"
        for _ in $(seq 25); do
            echo "BEGIN IMMEDIATE;"
            echo "WITH RECURSIVE n(x) AS (VALUES (1) UNION ALL SELECT x + 1 FROM n WHERE x < 40)"
            echo "INSERT INTO rows(text) SELECT hex(randomblob(40)) FROM n;"
            echo "UPDATE counted SET total = total + 40;"
            echo "COMMIT;"
        done
    } | sqlite3 -bail books.db > written
    ;;
check)
    state=$(sqlite3 books.db "PRAGMA integrity_check(1)" 2>&1) || true
    [ "$state" = ok ] || { echo "the books are damaged: $state" | tr '\n' ' ' >&2; exit 1; }
    even=$(sqlite3 books.db "SELECT (SELECT count(*) FROM rows) = (SELECT total FROM counted)")
    [ "$even" = 1 ] || { echo "the books do not balance" >&2; exit 1; }
    ;;
esac
