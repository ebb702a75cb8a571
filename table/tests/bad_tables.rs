//! Everything that can be wrong with a table: each mistake gives one clear error, with its place and a help.

use chaos_table::TableError;
use chaos_table::compile::{Context, compile};
use chaos_table::files::{from_toml, from_yaml};
use chaos_table::schema::Table;
use chaos_table::spec::{parse_spec, parse_specs};
use std::path::Path;

/// What is said about a table, parsed and compiled.
fn said(table: Result<Table, TableError>) -> String {
    let context = Context { work_dir: Path::new("/srv/app"), seed: 1 };
    match table.and_then(|table| compile(&table, &context)) {
        Ok(_) => "nothing".into(),
        Err(error) => error.to_string(),
    }
}

fn spec(text: &str) -> String {
    said(parse_spec(text, "--fault 1").map(|fault| Table { faults: vec![fault], ..Table::default() }))
}

/// Asserts that an error holds all parts.
fn holds(input: &str, said: &str, parts: &[&str]) {
    for part in parts {
        assert!(said.contains(part), "{input}\nshould say {part:?} but says:\n{said}");
    }
}

#[test]
fn specs() {
    for (text, parts) in [
        ("", &["--fault 1:1: there is no fault"][..]),
        ("reed=EIO", &["--fault 1:1: unknown call `reed`", "did you mean `read`?"]),
        ("read=EIOO", &["unknown errno `EIOO`", "`EIO`"]),
        ("read=EIO@3@4", &["unknown errno `EIO@3`", "list calls"]),
        ("read=signal:FOO", &["unknown signal `FOO`", "KILL"]),
        ("read=eio", &["unknown effect `eio`", "did you mean `EIO`?"]),
        ("read=shrt", &["unknown effect `shrt`", "`short`"]),
        ("read=", &["`read=` has no effect"]),
        ("read", &["says not what happens to `read`"]),
        ("write=short@0.2", &["`@0.2` is neither a rate", "write=short@20%"]),
        ("read=EIO@0", &["names match 0", "counted from 1"]),
        ("read=EIO@5..3", &["reversed", "3..5"]),
        ("read=EIO@2..+0", &["step", "is 0"]),
        ("read=EIO@x", &["`@x` is not understood", "@10%"]),
        ("read=EIO@130%", &["not between 0% and 100%"]),
        ("read=EIO@nan%", &["not between 0% and 100%"]),
        ("read=EIO@10% every", &["--fault 1:14: `every` has no `=`"]),
        ("eror calls=read", &["unknown fault `eror`", "`error`"]),
        ("clock", &["clock says not how the clock is off", "offset=+1h"]),
        ("clock offset=1", &["has no unit", "ms"]),
        ("clock offset=+", &["`+` is no offset", "-30s"]),
        ("clock offset=0s", &["changes nothing", "+1h"]),
        ("clock offset=--1h", &["`--1h` is no offset"]),
        ("clock offset=900000h", &["too far off", "a century"]),
        ("clock pace=fast", &["`fast` is no pace", "2x"]),
        ("clock pace=1x", &["changes nothing"]),
        ("clock pace=0x", &["out of range", "0.01x to 1000x"]),
        ("clock pace=2000x", &["out of range"]),
        ("clock pace=-2x", &["`-2x` is no pace"]),
        ("clock rate=2 offset=+1h", &["not between 0 and 1"]),
        ("clock offset=+1h rate=30%", &["a clock has a `rate` only where it jumps in periods", "period=2s"]),
        ("clock jump=+1h", &["says not when the clock jumps", "from=10s"]),
        ("clock offset=+1h period=2s", &["`period` is how long a `jump` lasts"]),
        ("clock offset=+1h nth=3", &["`nth` does not apply to clock", "period"]),
        ("clock offset=+1h every=3", &["`every` does not apply to clock"]),
        ("clock offset=+1h times=3", &["`times` does not apply to clock"]),
        ("clock offset=+1h after=3", &["`after` does not apply to clock"]),
        ("clock offset=+1h per=thread", &["`per` does not apply to clock"]),
        ("clock offset=+1h calls=time", &["clock takes no `calls`", "`process` chooses"]),
        ("time=clock", &["clock takes no `calls`"]),
        ("gettimeofday=EINVAL", &["error does not fit the call `gettimeofday`"]),
        ("time=ECONNREFUSED path=x", &["no call of the family `time` fits"]),
        ("clock offset=+1h path=*.db", &["`path` can never match"]),
        ("clock offset=+1h to=:80", &["`to` can never match"]),
        ("clock offset=+1h fd=3", &["`fd` can never match"]),
        ("clock offset=+1h delay=1s", &["`delay` is a parameter of latency", "clock has offset"]),
        ("clock offset=+1h clocks=cpu", &["unknown clock `cpu`", "realtime, monotonic"]),
        ("clock offset=-1h clocks=monotonic", &["the monotonic clock can never go back", "clocks=realtime"]),
        ("clock pace=0.5x clocks=realtime,monotonic", &["the monotonic clock can never go slower"]),
        ("clock jump=+1h period=2s clocks=monotonic", &["the monotonic clock can never go back"]),
        ("error calls=read offset=+1h", &["`offset` is a parameter of clock"]),
        ("error calls=read period=1s", &["`period` is a parameter of clock"]),
        ("freeze calls=read period=1s", &["`period` is for a freeze without `calls`", "`every`"]),
        ("freeze path=*.db", &["`path` needs `calls`", "freeze"]),
        ("freeze rate=10%", &["`rate` needs `calls`"]),
        ("freeze for=2s period=1s", &["the next freeze would begin before the last is over"]),
        ("freeze for=0s", &["zero"]),
        ("freeze calls=reed", &["unknown call `reed`", "`read`"]),
        ("freeze signal=TERM", &["`signal` is a parameter of signal"]),
        ("freeze calls=free", &["freeze does not fit the call `free`"]),
        ("signal times=3", &["`times` of a signal without `calls` needs a `period`"]),
        ("signal nth=3", &["`nth` needs `calls`"]),
        ("signal fd=3", &["`fd` needs `calls`"]),
        ("signal to=:80", &["`to` needs `calls`"]),
        ("signal per=tree", &["`per` needs `calls`"]),
        ("signal size=3", &["`size` needs `calls`"]),
        ("freeze caller=libx.so", &["`caller` needs `calls`"]),
        ("freeze not.path=*.db", &["`not.path` needs `calls`"]),
        ("clock offset=+1h caller=libx.so", &["`caller` does not apply to clock"]),
        ("clock offset=+1h not.fd=3", &["`not.fd` does not apply to clock"]),
        ("signal signal=KIL", &["unknown signal `KIL`", "`KILL`"]),
        ("signal period=0s", &["zero"]),
        ("exhaust what=processes", &["exhaust of processes needs a limit", "limit=64"]),
        ("exhaust what=threads limit=10MB", &["the limit `10MB` does not fit threads", "a count"]),
        ("exhaust what=processes limit=4 calls=pthread_create", &["exhaust of processes does not fit the call"]),
        ("exhaust what=threads limit=4 calls=fork", &["exhaust of threads does not fit the call `fork`"]),
        ("exhaust what=files limit=4 calls=fork", &["exhaust of files does not fit the call `fork`"]),
        ("clock_gettime=EPERM path=x", &["`path` can never match"]),
        ("sleep=EINTR", &["error does not fit the call `sleep`"]),
        ("arc4random=EIO", &["error does not fit the call `arc4random`"]),
        ("error", &["error needs `calls`"]),
        ("error calls=read erno=EIO", &["--fault 1:18: unknown key `erno`", "`errno`"]),
        ("error calls=read size=3x", &["unknown unit `x`"]),
        ("error calls=read not=x", &["`not` takes a selector here"]),
        ("error calls=read seed=3", &["`seed` is no key of a fault", "belongs to the table"]),
        ("error calls=", &["`calls=` has no value"]),
        ("error calls=read path='my data'", &["--fault 1:23: a single quote", "double quotes"]),
        ("error calls=\"\"", &["`calls=` has no value"]),
        ("error calls=read,", &["the name of a call is empty"]),
        ("error calls=read calls=write", &["`calls` is given twice"]),
        ("error calls=read rate=30", &["not between 0 and 1", "write 30% for percent"]),
        ("error calls=read rate=-1", &["not between 0 and 1"]),
        ("error calls=read rate=NaN", &["not between 0 and 1"]),
        ("error calls=read rate=often", &["`often` is no rate"]),
        ("error calls=read every=0", &["0 would never fire"]),
        ("error calls=read times=0", &["0 would never fire"]),
        ("error calls=read times=-1", &["`-1` is no count"]),
        ("error calls=read nth=3 every=2", &["`nth` and `every` contradict"]),
        ("error calls=read per=host", &["unknown scope of counting `host`", "process, thread, tree"]),
        ("error calls=read for=0s", &["zero"]),
        ("error calls=read for=10", &["`10` has no unit", "ms"]),
        ("error calls=read for=10parsec", &["unknown unit `parsec`", "ms"]),
        ("error calls=read for=99999999999999h", &["too large"]),
        ("error calls=read for=1.2.3s", &["malformed"]),
        ("error calls=read path=\"\"", &["`path=` has no value"]),
        ("error calls=read path=*.db,", &["the pattern is empty"]),
        ("error calls=read path=[a", &["malformed", "unclosed character class"]),
        ("error calls=read path=\"{a,b\"", &["malformed", "unclosed brace"]),
        ("error calls=read path=!a", &["starts with `!`"]),
        ("error calls=read path=data/", &["ends with a slash", "data/**"]),
        ("error calls=read path=~/x", &["`~` is not expanded"]),
        ("error calls=read path=*/../x", &["`..` behind a wildcard"]),
        ("error calls=connect path=/x", &["`path` can never match the call `connect`"]),
        ("error calls=malloc to=:80", &["`to` can never match the call `malloc`"]),
        ("error calls=malloc fd=3", &["`fd` can never match the call `malloc`"]),
        ("error calls=read path=a to=:80", &["`path` and `to` can never match together"]),
        ("error calls=disk to=:80", &["no call of the family `disk` fits"]),
        ("error calls=connect to=10.0.0.0/33", &["the prefix of `10.0.0.0/33`", "0 to 32"]),
        ("error calls=connect to=10.0.0/8", &["`10.0.0` is no address"]),
        ("error calls=connect to=300.1.1.1", &["`300.1.1.1` is no address"]),
        ("error calls=connect to=:0", &["`0` is no port"]),
        ("error calls=connect to=:70000", &["`70000` is no port"]),
        ("error calls=connect to=db:x", &["`x` is no port"]),
        ("error calls=connect to=https://a.b/", &["is a URL", "leave out https://"]),
        ("error calls=connect to=[::1]80", &["[address]:port"]),
        ("error calls=connect to=\"a b\"", &["is no peer"]),
        ("error calls=connect to=role:db", &["unknown role `db`"]),
        ("dns to=:53", &["`to` names no host"]),
        ("dns to=10.0.0.0/8", &["`to` names no host"]),
        ("error calls=read fd=9..3", &["reversed", "3..9"]),
        ("error calls=read fd=x", &["`x` is no descriptor"]),
        ("error calls=read signal=KILL", &["`signal` is a parameter of signal, not of error", "error has errno"]),
        ("latency calls=read errno=EIO", &["is a parameter of error, unreachable, torn and return, not of latency"]),
        ("latency calls=read delay=5", &["no unit"]),
        ("latency calls=read distribution=normal", &["needs a `jitter`"]),
        ("latency calls=read distribution=fixed jitter=1s", &["a fixed delay has no `jitter`"]),
        ("latency calls=read distribution=pareto", &["needs a `jitter`"]),
        ("latency calls=read jitter=1s distribution=paretto", &["unknown distribution `paretto`", "`pareto`"]),
        ("drop calls=read,open", &["drop does not fit the call `open`", "write"]),
        ("drop calls=memory", &["no call of the family `memory` fits"]),
        (
            "drop calls=write keep=50%",
            &["`keep` is a parameter of short and torn, not of drop", "drop has no parameters"],
        ),
        ("write=drop:50%", &["drop takes no parameter"]),
        ("drop calls=pread", &["drop does not fit the call `pread`"]),
        ("torn calls=read", &["torn does not fit the call `read`"]),
        ("torn calls=send", &["torn does not fit the call `send`"]),
        ("torn then=die", &["unknown ending `die`"]),
        ("torn then=kill errno=EIO", &["what is killed gets no `errno`", "then=fail"]),
        ("torn keep=100%", &["more than 0% and less than 100%"]),
        ("torn errno=EI0", &["unknown errno `EI0`", "`EIO`"]),
        ("torn value=1", &["`value` is a parameter of return, not of torn", "errno, keep, then"]),
        ("write=torn:0", &["more than 0%"]),
        ("return", &["return says not what is returned", "value=-1 errno=EIO"]),
        ("return value=0", &["return needs `calls`"]),
        ("return calls=read", &["return says not what is returned"]),
        ("return calls=read value=-2", &["`-2` is no value that a call returns", "from -1"]),
        ("return calls=read value=x", &["`x` is no value"]),
        ("return calls=read value=1.5", &["`1.5` is no value"]),
        ("return calls=read value=3000000000", &["is no value"]),
        ("return calls=read value=3 errno=EIO", &["a call that returns 3 sets no `errno`"]),
        ("return calls=read value=0 errno=EIO", &["`read` sets no `errno` when it returns 0"]),
        ("return calls=malloc value=-1", &["`malloc` cannot return -1", "NULL"]),
        ("return calls=malloc value=4096", &["`malloc` cannot return 4096", "value=0"]),
        ("return calls=posix_memalign value=0", &["`posix_memalign` cannot return 0", "value=12"]),
        ("return calls=fork value=0", &["return does not fit the call `fork`"]),
        ("return calls=close value=0", &["return does not fit the call `close`"]),
        ("return calls=getaddrinfo value=0", &["return does not fit the call `getaddrinfo`"]),
        ("short calls=connect", &["short does not fit the call `connect`", "read"]),
        ("short calls=fgets", &["short does not fit the call `fgets`", "read"]),
        ("short calls=fread keep=10%", &["short does not fit the call `fread`"]),
        ("short calls=stdio", &["no call of the family `stdio` fits", "short does not fit"]),
        ("disconnect calls=fread", &["disconnect does not fit the call `fread`"]),
        ("corrupt calls=getc", &["corrupt does not fit the call `getc`"]),
        ("corrupt calls=fprintf", &["corrupt does not fit the call `fprintf`"]),
        ("hang calls=fclose", &["hang does not fit the call `fclose`"]),
        ("exhaust what=files limit=20 calls=fdopen", &["exhaust does not fit the call `fdopen`"]),
        ("error calls=fopen fd=3", &["`fd` can never match the call `fopen`"]),
        ("error calls=fopen to=:80", &["`to` can never match the call `fopen`"]),
        ("error calls=fgets errno=EAI_AGAIN", &["EAI_ codes are for look-ups of names, not for `fgets`"]),
        ("error calls=fgest", &["`fgest`", "`fgets`"]),
        ("error calls=stdoi", &["`stdoi`", "`stdio`"]),
        ("fgets=EIOO", &["EIOO", "EIO"]),
        ("short calls=memory", &["no call of the family `memory` fits"]),
        ("short calls=read keep=100%", &["more than 0% and less than 100%"]),
        ("short calls=read keep=0", &["more than 0% and less than 100%"]),
        ("error calls=free", &["error does not fit the call `free`"]),
        ("error calls=time errno=EAI_AGAIN", &["no call of the family `time`"]),
        ("corrupt flip=1", &["says not what to flip"]),
        ("corrupt flip=0bits", &["0 bits"]),
        ("corrupt flip=9bits/1B", &["more bits than there are"]),
        ("corrupt flip=1bit/64QB", &["unknown unit `QB`"]),
        ("corrupt zero=512", &["has no unit"]),
        ("corrupt zero=0B", &["zero"]),
        ("corrupt zero=64KB/512B", &["zeroes more than there is", "512B/64KB"]),
        ("corrupt zero=512B/0B", &["is zero"]),
        ("corrupt zero=5GB", &["too large"]),
        ("corrupt zero=512B/", &["is no size"]),
        ("corrupt flip=1bit zero=1B", &["`flip` and `zero` do not mix", "two faults"]),
        ("corrupt truncate=50% duplicate=10%", &["`duplicate` and `truncate` do not mix"]),
        ("corrupt truncate=100%", &["to cut off `100%` is no truncation", "drop"]),
        ("corrupt truncate=0", &["no truncation"]),
        ("corrupt truncate=half", &["is no part"]),
        ("corrupt duplicate=60%", &["`60%` of the data cannot come twice", "50%"]),
        ("corrupt duplicate=0%", &["cannot come twice"]),
        ("corrupt calls=read duplicate=100%", &["`read` has no room for its data twice"]),
        ("corrupt calls=pwrite duplicate=100%", &["`pwrite`"]),
        ("short truncate=10%", &["`truncate` is a parameter of corrupt, not of short"]),
        ("disconnect mode=rst", &["unknown mode `rst`"]),
        ("dns answer=never", &["unknown answer `never`"]),
        ("exhaust", &["says not what runs out", "memory, files, disk, processes or threads"]),
        ("exhaust what=disc limit=1MB", &["unknown resource `disc`", "`disk`"]),
        ("exhaust what=disk", &["exhaust of disk needs a limit", "100MB"]),
        ("exhaust what=disk limit=100", &["does not fit disk"]),
        ("exhaust what=disk limit=1MB calls=read", &["exhaust does not fit the call `read`"]),
        ("exhaust what=disk limit=1MB calls=open", &["exhaust of disk does not fit the call `open`"]),
        ("exhaust what=disk limit=1MB per=process", &["runs out for the whole tree", "leave out `per`"]),
        ("exhaust what=files limit=3 calls=write", &["exhaust of files does not fit the call `write`"]),
        ("exhaust what=memory", &["needs a limit", "100MB"]),
        ("exhaust what=memory limit=100", &["does not fit memory"]),
        ("exhaust what=files limit=1MB", &["does not fit files"]),
        ("exhaust what=files limit=3 calls=malloc", &["exhaust of files does not fit the call `malloc`"]),
        ("signal calls=read signal=KIL", &["unknown signal `KIL`", "`KILL`"]),
        ("exit calls=read code=256", &["`256` is no exit code"]),
        ("getaddrinfo=EIO", &["`getaddrinfo` fails with EAI_ codes"]),
        ("fsinc=EIO", &["unknown call `fsinc`", "`fsync`"]),
        ("statt=EIO", &["unknown call `statt`", "`stat`"]),
        ("sync=EIO", &["error does not fit the call `sync`"]),
        ("short calls=fsync", &["short does not fit the call `fsync`", "it fits read"]),
        ("corrupt calls=sendfile", &["corrupt does not fit the call `sendfile`"]),
        ("exhaust what=files limit=3 calls=unlink", &["exhaust does not fit the call `unlink`"]),
        ("error calls=rename fd=3", &["`fd` can never match the call `rename`", "an open descriptor"]),
        ("error calls=fsync to=:80", &["`to` can never match the call `fsync`", "a peer"]),
        ("error calls=getcwd path=*.db", &["`path` can never match the call `getcwd`", "a file"]),
        ("error calls=tee path=*.db", &["`path` can never match the call `tee`"]),
        ("error calls=eventfd path=*.db", &["`path` can never match the call `eventfd`"]),
        ("error calls=stat size=3", &["`size` can never match the call `stat`", "an amount of bytes"]),
        ("read=EAI_AGAIN", &["EAI_ codes are for look-ups of names"]),
        ("error calls=network errno=EAI_AGAIN,EIO", &["do not mix"]),
        ("read=EIO,EIO", &["named twice"]),
        ("error calls=read errno=EIO:0", &["weight 0"]),
        ("error calls=read errno=5", &["is a number", "write its name, EIO"]),
        (
            "error calls=read errno=E2BIG,EACCES,EAGAIN,EBADF,EBUSY,ECHILD,EDOM,EEXIST,EFAULT",
            &["9 errnos are too many"],
        ),
        ("error calls=read message=\"a", &["--fault 1:26: the quote is not closed"]),
        ("error calls=read path=\"a\\d\"", &["escapes inside quotes"]),
        ("read=EIO; write=EIO", &["--fault 1:11: a second spec follows"]),
    ] {
        holds(text, &spec(text), parts);
    }
}

#[test]
fn several_specs_name_the_column_in_the_whole_text() {
    let error = parse_specs("read=EIO@10%; wirte=EIO", "CHAOS_TABLE").unwrap_err().to_string();
    assert_eq!(error, "CHAOS_TABLE:1:15: unknown call `wirte`\n  help: did you mean `write`?".replace(":1:", ":"));
    assert!(parse_specs(" ;; ", "CHAOS_TABLE").is_err());
}

#[test]
fn yaml_names_line_and_column() {
    for (text, parts) in [
        ("sead: 3\n", &["t.yaml:1:1: unknown key `sead` in a table", "`seed`"][..]),
        (
            "seed: 1\nfaults:\n  - fault: error\n    calls: reed\n",
            &["t.yaml:4:12: unknown call `reed`", "did you mean `read`?"],
        ),
        ("faults:\n  - fault: error\n    calls: [read, reed]\n", &["t.yaml:3:19: unknown call `reed`"]),
        ("faults:\n  - {fault: eror, calls: read}\n", &["t.yaml:2:13: unknown fault `eror`"]),
        ("faults:\n  - {fault: error, calls: read, rate: 3}\n", &["t.yaml:2:39: the rate `3`", "3%"]),
        ("faults:\n  - {fault: error, calls: read, rate: .nan}\n", &["t.yaml:2:39: "]),
        ("faults:\n  - {fault: error, calls: read, path: *.db}\n", &["t.yaml:2:", "quotes", "*.db"]),
        ("faults:\n  - fault: error\n    calls: read\n    path: *.db\n", &["t.yaml:4:", "quotes", "\"*.db\""]),
        ("faults:\n  - {fault: error, calls: []}\n", &["t.yaml:2:", "the list is empty"]),
        ("faults:\n  - {fault: error, calls: read, errno: {}}\n", &["the list of errnos is empty"]),
        ("faults:\n  - {fault: short, calls: connect}\n", &["t.yaml:2:", "short does not fit the call `connect`"]),
        ("faults:\n  - {calls: connect}\n", &["t.yaml:2:", "says not what happens"]),
        ("faults:\n  - {fault: error, calls: read, rate: 1, probability: 1}\n", &["`rate` is given twice"]),
        ("faults:\n  - {fault: error, fault: error}\n", &["t.yaml:2:", "is given twice"]),
        ("faults: {}\n", &["t.yaml:1:9: ", "a list of faults"]),
        ("faults: [{fault: error, calls: read, name: }]\n", &["t.yaml:1:", "the key has no value"]),
        ("faults: [{fault: refuse, to: [::1]:80}]\n", &["t.yaml:1:", "goes in quotes"]),
        ("faults: 3\n", &["t.yaml:1:"]),
        ("on: 3\n", &["unknown key `on`"]),
        ("arm: {main: 1, exec: 2}\n", &["t.yaml:1:", "write `arm: main`"]),
        ("arm: {after: 1s, listen: 80}\n", &["t.yaml:1:", "`arm` has two conditions", "one of after, path, listen"]),
        ("arm: {path: []}\n", &["t.yaml:1:", "the list is empty"]),
        ("arm: {path: \"data/\"}\n", &["t.yaml:1:", "ends with a slash"]),
        ("arm: {listen: http}\n", &["t.yaml:1:", "`http` is no port", "1 to 65535"]),
        ("arm: {listen: 9..3}\n", &["t.yaml:1:", "`9..3` is reversed"]),
        ("arm: {listen: 70000}\n", &["t.yaml:1:", "`70000` is no port"]),
        ("arm: {port: 80}\n", &["t.yaml:1:", "unknown key `port` in `arm`"]),
        ("arm: ctrl\n", &["t.yaml:1:6:", "unknown arm `ctrl`", "`ctl`"]),
        ("faults: [{fault: error, calls: read, not: {}}]\n", &["t.yaml:1:", "`not` is empty"]),
        ("faults: [{fault: error, calls: read, not: {rate: 1}}]\n", &["t.yaml:1:", "`rate` is no key of `not`"]),
        ("faults: [{fault: error, calls: read, not: {fd: 9..3}}]\n", &["t.yaml:1:", "`9..3` is reversed"]),
        ("arm: mian\n", &["unknown arm `mian`", "`main`"]),
        ("arm: {}\n", &["`arm` is empty"]),
        ("for: 60\n", &["t.yaml:1:6: the duration `60` has no unit"]),
        ("for: 0s\n", &["zero"]),
        ("max_faults: 0\n", &["0 would never fire"]),
        ("seed: -1\n", &["t.yaml:1:7: `-1` is no number"]),
        ("seed: 99999999999999999999\n", &["t.yaml:1:7: "]),
        ("enabled: maybe\n", &["t.yaml:1:10: "]),
        ("chaos: [netwrk]\n", &["t.yaml:1:9: unknown preset `netwrk`", "`network`"]),
        ("chaos: tme\n", &["unknown preset `tme`", "`time`"]),
        ("faults: [{fault: clock, offset: 3600}]\n", &["t.yaml:1:33: the duration `3600` has no unit"]),
        ("faults: [{fault: clock, pace: [2, 3]}]\n", &["how fast the clock goes"]),
        ("chaos: []\n", &["the list is empty"]),
        ("intensity: hard\n", &["unknown intensity `hard`"]),
        ("intensity: gentle\nrate: 3%\n", &["`rate` and `intensity`"]),
        ("protect: nune\n", &["t.yaml:1:10: unknown protection `nune`", "`none`"]),
        ("protect: [none]\n", &["`none` stands in a list"]),
        ("protect: []\n", &["the list is empty"]),
        ("roles: {\"a b\": x}\n", &["is no name for a role"]),
        ("roles: {db: []}\n", &["the list is empty"]),
        ("roles: {db: \":0\"}\n", &["`0` is no port"]),
        ("fault: error\n", &["t.yaml:1:1: `fault` is no key of a table", "faults: [{"]),
        ("faults: [\"reed=EIO\"]\n", &["t.yaml:1:10: unknown call `reed`"]),
        ("[[[[[[[[[[]]]]]]]]]]\n", &["t.yaml:1:"]),
        ("--- \nseed: 1\n---\nseed: 2\n", &["t.yaml:", "a second YAML document"]),
        ("seed: 1\n  x: 2\n", &["t.yaml:"]),
        ("just text\n", &["t.yaml: ", "a fault table"]),
    ] {
        holds(text, &said(from_yaml(text, "t.yaml")), parts);
    }
}

#[test]
fn toml_names_line_and_column() {
    for (text, parts) in [
        ("sead = 3\n", &["t.toml:1:1: unknown key `sead` in a table", "`seed`"][..]),
        ("[[faults]]\nfault = \"error\"\ncalls = \"reed\"\n", &["t.toml:3:9: unknown call `reed`"]),
        ("[[faults]]\nfault = \"error\"\ncalls = [\"read\", \"reed\"]\n", &["t.toml:3:18: unknown call `reed`"]),
        ("[[faults]]\nfault = \"short\"\ncalls = \"connect\"\n", &["t.toml:1:", "short does not fit"]),
        ("seed = 1\nseed = 2\n", &["t.toml:2:1: duplicate key"]),
        ("seed = \n", &["t.toml:1:"]),
        ("for = 2020-01-01\n", &["t.toml:1:"]),
        ("[[faults]]\nfault = \"error\"\ncalls = \"read\"\nrate = nan\n", &["t.toml:4:8: "]),
    ] {
        holds(text, &said(from_toml(text, "t.toml")), parts);
    }
}

#[test]
fn json_names_line_and_column() {
    let deep = "[".repeat(100_000);
    for (text, parts) in [
        ("{\"sead\": 3}", &["t.json:1:7: unknown key `sead` in a table", "`seed`"][..]),
        ("{\"seed\": 3, \"seed\": 4}", &["t.json:1:", "`seed` is given twice"]),
        ("{\"faults\": [{\"fault\": \"error\", \"fault\": \"exit\"}]}", &["`fault` is given twice"]),
        ("{\"roles\": {\"a\": \":1\", \"a\": \":2\"}}", &["the role `a` is defined twice"]),
        ("{\"faults\": [\n{\"fault\": \"error\", \"calls\": \"reed\"}]}", &["t.json:2:34: unknown call `reed`"]),
        ("{\"seed\": 3} x", &["t.json:1:13: trailing characters"]),
        ("{\"seed\": 3", &["t.json:1:10: EOF"]),
        ("{\"seed\": null}", &["t.json:1:", "null"]),
        ("{\"rate\": 1e999}", &["t.json:1:", "out of range"]),
        ("3", &["t.json:1:1: ", "a fault table"]),
        (&deep, &["t.json:1:"]),
        ("{\"faults\": [{\"fault\": \"error\", \"calls\": {\"a\": [[[[]]]]}}]}", &["t.json:1:", "a call or a family"]),
    ] {
        holds(text, &said(Table::from_json(text, "t.json")), parts);
    }
}

#[test]
fn what_only_the_whole_table_shows() {
    let long = "x".repeat(4000);
    let many_rules = "faults: [".to_owned() + &"\"read=EIO\",".repeat(61) + "]";
    let hosts: String = (0..65).map(|n| format!("h{n}.example.com,")).collect();
    let many_hosts = format!("faults: [{{fault: refuse, to: [{hosts}]}}]");
    let texts: String = (0..70).map(|n| format!("\"/{n}{long}\",")).collect();
    let long_text = format!("faults: [{{fault: error, calls: read, path: [{texts}]}}]");
    let globs: String = (0..5000).map(|n| format!("g{n},")).collect();
    let many_globs = format!("faults: [{{fault: error, calls: read, path: [{globs}]}}]");
    for (text, parts) in [
        (
            "faults: [{fault: refuse, to: llm}]\nroles: {llms: a.com}\n",
            &["t.yaml: fault 1: unknown role `llm`", "`llms`", "host:llm"][..],
        ),
        ("faults: [{fault: refuse, to: 'role:db'}]\n", &["unknown role `db`"]),
        (
            "faults: [{fault: refuse, to: a}]\nroles: {a: b, b: [c, a], c: d.e}\n",
            &["the role `a` leads back to itself: a, b"],
        ),
        ("faults: [{fault: refuse, to: a}]\nroles: {a: a}\n", &["leads back to itself"]),
        ("faults: [{fault: refuse, to: 'db:5432'}]\nroles: {db: x.y}\n", &["gives the role `db` a port"]),
        (
            "faults: [{fault: exit, calls: read, name: a}, {fault: exit, calls: read, name: a}]\n",
            &["t.yaml: fault 2: two rules are called `a`"],
        ),
        (&many_rules, &["61 rules are too many", "at most 60"]),
        (&many_hosts, &["more than 64 different host patterns"]),
        (&long_text, &["too long together"]),
        (&many_globs, &["too many patterns"]),
    ] {
        holds(text, &said(from_yaml(text, "t.yaml")), parts);
    }
}

#[test]
fn deep_nesting_is_refused_by_every_format() {
    let deep = 50_000;
    for (text, read) in [
        ("[".repeat(deep), from_yaml as fn(&str, &str) -> Result<Table, TableError>),
        ("- ".repeat(deep), from_yaml),
        (format!("roles: {}", "{a: ".repeat(deep)), from_yaml),
        (format!("faults = {}", "[".repeat(deep)), from_toml),
        (format!("a{} = 1", ".a".repeat(deep)), from_toml),
        (format!("{{\"roles\": {}", "{\"a\": ".repeat(deep)), Table::from_json),
    ] {
        assert!(read(&text, "t").is_err(), "{}...", &text[..20]);
    }
}
