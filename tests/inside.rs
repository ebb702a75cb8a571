//! Steering a run from inside: the functions of `chaos.h`, as programs in several languages call them.

#[expect(dead_code, reason = "each topic uses its part of the helpers")]
mod common;

use common::{Done, Scene, compile, compile_by, python};

/// How a C program may be built: only what moves at start-up finds the functions by itself.
const BUILDS: [(&str, &[&str]); 4] = [
    ("inside", &[]),
    ("inside-no-pie", &["-no-pie", "-fno-pie"]),
    ("inside-O0", &["-O0", "-std=c99", "-D_GNU_SOURCE", "-pedantic"]),
    ("inside-O3", &["-O3"]),
];

fn guests() -> Vec<String> {
    BUILDS.iter().map(|(output, flags)| compile("inside", output, flags)).collect()
}

fn said(done: Done, lines: &[&str]) -> Done {
    done.said(&lines.join("\n"))
}

const EVERYTHING: [&str; 13] = [
    "enable",
    "disable",
    "begin:pread=EIO",
    "end",
    "mark:m",
    "event:e",
    "metric:m",
    "set:rate=0",
    "recovery_begin:db",
    "recovery_end:db",
    "fail:checkout",
    "injections",
    "get:enabled",
];

#[test]
fn without_the_shim_nothing_happens_and_nothing_is_needed() {
    let absent = [
        "enable 38",
        "disable 38",
        "begin 38",
        "end 38",
        "mark 38",
        "event 38",
        "metric 38",
        "set 38",
        "recovery_begin 38",
        "recovery_end 38",
        "fail 0",
        "injections 0",
        "get -1",
        "read ok",
        "error",
    ];
    let mut all = guests();
    all.push(compile("inside", "inside-static", &["-static"]));
    all.push(compile_by("g++", "inside", "inside-cxx", &["-x", "c++", "-fpermissive"]));
    all.push(compile_by("musl-gcc", "inside", "inside-musl", &[]));
    for guest in all {
        let scene = Scene::new();
        let words = [&EVERYTHING[..], &["read", "error"]].concat();
        let command: Vec<&str> = std::iter::once(guest.as_str()).chain(words).collect();
        said(scene.bare().go(&command), &absent);
        // With the shim and without a table it is the same, but that the reason is told.
        let quiet = scene.bare().env("LD_PRELOAD", common::shim()).go(&command).ended(0);
        assert!(quiet.out.starts_with(&absent[..14].join("\n")), "{guest}: {}", quiet.story());
    }
}

#[test]
fn under_the_shim_each_function_does_what_it_says() {
    for guest in guests() {
        let scene = Scene::new();
        let words = [
            "read",
            "disable",
            "read",
            "enable",
            "read",
            "set:rate=0",
            "read",
            "get:enabled",
            "injections",
            "begin:pread=ENOSPC",
            "read",
            "thread",
            "fork",
            "end",
            "read",
            "fail:checkout",
            "fail:other",
            "mark:here",
            "event:failover",
            "metric:hits",
            "recovery_begin:db",
            "recovery_end:db",
            "get:injections",
        ];
        let command: Vec<&str> = std::iter::once(guest.as_str()).chain(words).collect();
        let faults = ["error calls=pread errno=EIO", "error point=check* errno=EACCES"];
        let done = said(
            scene.under(&faults).go(&command),
            &[
                "read EIO",
                "disable 0",
                "read ok",
                "enable 0",
                "read EIO",
                "set 0",
                "read ok",
                "get 1",
                "injections 2",
                "begin 0",
                "read ENOSPC",
                "thread ok",
                "child ok",
                "end 0",
                "read ok",
                "fail 13",
                "fail 0",
                "mark 0",
                "event 0",
                "metric 0",
                "recovery_begin 0",
                "recovery_end 0",
                "get 4",
            ],
        );
        let marks: Vec<String> = done.lines("mark").iter().map(|line| line["text"].as_str().unwrap().into()).collect();
        let wanted = [
            "chaos_disable",
            "chaos_enable",
            "chaos_set: error-1 rate=0",
            "chaos_begin: begin-1: pread=ENOSPC",
            "here",
        ];
        assert_eq!(marks, wanted, "{}", done.story());
        let events = done.lines("event");
        let of = |event: &str| {
            let found = events.iter().find(|line| line["event"] == event);
            found.unwrap_or_else(|| panic!("no {event}: {}", done.story())).clone()
        };
        let failover = of("failover");
        assert_eq!((&failover["component"], &failover["data"]), (&"store".into(), &"data".into()));
        assert_eq!((&of("metric")["name"], &of("metric")["value"]), (&"hits".into(), &0.25.into()));
        assert_eq!(of("recovery_begin")["component"], "db");
        assert_eq!(of("recovery_end")["data"], "recovered");
        let point = done.injections().into_iter().find(|line| line["call"] == "chaos_fail").unwrap();
        assert_eq!((&point["resource"], &point["errno"]), (&"checkout".into(), &"EACCES".into()));
        assert!(done.err.contains("begin-1") && done.err.contains("4 fired, 4 delivered"), "{}", done.story());
    }
}

#[test]
fn a_rule_of_one_thread_is_used_again_and_counts_from_its_beginning() {
    let scene = Scene::new();
    let guest = compile("inside", "inside", &[]);
    let mut words = vec![guest.as_str()];
    let once = ["begin:error calls=pread errno=EIO nth=2 times=1", "read", "read", "read", "read", "end"];
    // More often than there is room for rules.
    for _ in 0..100 {
        words.extend(once);
    }
    let done = scene.under(&["write=EIO@0%"]).go(&words).ended(0);
    let each = "begin 0\nread ok\nread EIO\nread ok\nread ok\nend 0\n";
    assert_eq!(done.out, each.repeat(100), "{}", done.story());
    assert_eq!(done.injections().len(), 100);
    assert_eq!(done.lines("mark").len(), 1, "the same rule is told of once");
}

#[test]
fn rules_lie_within_each_other_up_to_a_limit() {
    let scene = Scene::new();
    let guest = compile("inside", "inside", &[]);
    let begins: Vec<String> = (1..=8).map(|n| format!("begin:error calls=pread errno=EIO nth={n}")).collect();
    let mut words = vec![guest.as_str()];
    words.extend(begins.iter().map(String::as_str));
    words.extend(["error"]);
    words.extend(["end"; 8]);
    words.extend(["error", "read"]);
    let done = scene.under(&[]).go(&words).ended(0);
    let mut wanted = vec!["begin 0"; 7];
    wanted.extend(["begin 28", "error seven rules are begun on this thread already: chaos_end ends the latest"]);
    wanted.extend(["end 0"; 7]);
    wanted.extend(["end 22", "error nothing was begun on this thread", "read ok"]);
    said(done, &wanted);
}

#[test]
fn bad_arguments_are_refused_with_a_reason() {
    let scene = Scene::new();
    let script = r#"
import ctypes
chaos = ctypes.CDLL(None)
chaos.chaos_error.restype = ctypes.c_char_p
chaos.chaos_metric.argtypes = [ctypes.c_char_p, ctypes.c_double]
def tell(code):
    print(code, chaos.chaos_error().decode())
tell(chaos.chaos_begin(b'pread=EFOO'))
tell(chaos.chaos_begin(b''))
tell(chaos.chaos_begin(None))
tell(chaos.chaos_begin(b'x' * 5000))
tell(chaos.chaos_begin(b'\xff'))
tell(chaos.chaos_begin(b'clock offset=1h'))
tell(chaos.chaos_begin(b'signal process=x'))
tell(chaos.chaos_begin(b'exhaust what=memory limit=1MB'))
tell(chaos.chaos_begin(b'error calls=pread per=tree'))
tell(chaos.chaos_begin(b'pread=EIO; read=EIO'))
tell(chaos.chaos_end())
tell(chaos.chaos_set(b'nobody', b'rate=1'))
tell(chaos.chaos_set(None, b'rate=1'))
tell(chaos.chaos_set(b'error-1', None))
tell(chaos.chaos_set(b'error-1', b'path=x'))
tell(chaos.chaos_mark(None))
tell(chaos.chaos_mark(b''))
tell(chaos.chaos_metric(None, 1.0))
tell(chaos.chaos_metric(b'm', float('nan')))
value = ctypes.c_double()
tell(chaos.chaos_get(None, b'moon', ctypes.byref(value)))
tell(chaos.chaos_get(b'nobody', b'rate', ctypes.byref(value)))
tell(chaos.chaos_get(b'error-1', b'rate', None))
print(chaos.chaos_event(None, None, None), chaos.chaos_event(b'c' * 9999, b'e' * 9999, b'd' * 9999))
print(chaos.chaos_mark(b'long ' * 9999), chaos.chaos_fail(None), chaos.chaos_recovery_begin(None))
"#;
    let done = scene.under(&["pread=EIO@0%"]).go(&[&python(), "-c", script]).ended(0);
    let wanted = [
        "22 unknown errno `EFOO`",
        "22 the spec is empty",
        "22 the spec is empty",
        "22 the spec is longer than 1023 bytes",
        "22 the spec is no UTF-8",
        "22 a clock is off for a whole process",
        "22 a signal without `calls` is the launcher's to do",
        "22 this cannot be added while the program runs",
        "22 it is about the calling thread alone",
        "22 a second spec follows",
        "22 nothing was begun on this thread",
        "2 there is no rule `nobody`",
        "22 the rule is empty",
        "22 the change is empty",
        "22 `path` of a rule cannot be changed",
        "22 the mark says nothing",
        "22 the mark says nothing",
        "22 a figure needs a name and a finite value",
        "22 a figure needs a name and a finite value",
        "22 there is no `moon` to get",
        "2 there is no rule `nobody`",
        "22 there is no place for the value",
        "0 0",
        "0 0 0",
    ];
    let lines: Vec<&str> = done.out.lines().collect();
    assert_eq!(lines.len(), wanted.len(), "{}", done.story());
    for (line, wanted) in lines.iter().zip(wanted) {
        assert!(line.starts_with(wanted), "{line} is not {wanted}");
    }
    // The longest texts are cut, and stay one line.
    let long = done.lines("event").into_iter().find(|line| line["component"].as_str().is_some_and(|c| c.len() > 9));
    let long = long.unwrap_or_else(|| panic!("{}", done.story()));
    assert_eq!(long["component"].as_str().unwrap().len(), 128);
    assert!(long["data"].as_str().unwrap().len() > 700, "{long}");
}

#[test]
fn points_of_a_program_are_hit_by_name_and_by_every_fault_that_fits() {
    let scene = Scene::new();
    let guest = compile("inside", "inside", &[]);
    for (fault, wanted) in [
        ("error point=checkout errno=ENOSPC", "fail 28\nfail 0"),
        ("error point=checkout", "fail 5\nfail 0"),
        ("error point=check*,pay errno=EACCES", "fail 13\nfail 13"),
        ("error calls=chaos_fail errno=EPERM", "fail 1\nfail 1"),
        ("chaos_fail=EPERM@2", "fail 0\nfail 1"),
        ("return point=pay value=42", "fail 0\nfail 42"),
        ("latency point=* delay=1ms", "fail 0\nfail 0"),
        ("hang point=pay for=1ms", "fail 0\nfail 0"),
        ("error point=checkout errno=EIO process=nobody", "fail 0\nfail 0"),
        ("error point=* errno=EIO caller=inside", "fail 5\nfail 5"),
        ("error point=* errno=EIO caller=libc*", "fail 0\nfail 0"),
    ] {
        let done = scene.under(&[fault]).go(&[&guest, "fail:checkout", "fail:pay"]);
        assert_eq!(done.out.trim_end(), wanted, "{fault}: {}", done.story());
        done.ended(0);
    }
    scene.under(&["exit point=pay code=9"]).go(&[&guest, "fail:checkout", "fail:pay"]).ended(9);
    scene.under(&["signal point=pay signal=KILL"]).go(&[&guest, "fail:checkout", "fail:pay"]).ended(137);
    for (fault, message) in [
        ("error point=x calls=read", "`point` can never match the call `read`"),
        ("error point=", "has no value"),
        ("error point=[ errno=EIO", "malformed"),
        ("short point=x", "short does not fit the call `chaos_fail`"),
        ("error point=x path=y", "`path` can never match the call `chaos_fail`"),
        ("error point=x to=:80", "`to` can never match the call `chaos_fail`"),
        ("return point=x value=0", "cannot return 0"),
    ] {
        let done = scene.under(&[fault]).go(&[&guest, "fail:x"]).ended(125);
        assert!(done.err.contains(message), "{fault}: {}", done.err);
    }
}

#[test]
fn a_runtime_that_calls_them_has_booted() {
    // Nothing else of this program's own shows that Python has booted.
    let scene = Scene::new();
    let script = "
import ctypes
chaos = ctypes.CDLL(None)
print(chaos.chaos_fail(b'first'), chaos.chaos_fail(b'second'))
";
    scene.under(&["error point=first errno=EACCES"]).go(&[&python(), "-c", script]).said("13 0");
    let script = "
import ctypes, os
chaos = ctypes.CDLL(None)
chaos.chaos_begin(b'getcwd=EIO')
try:
    os.getcwd()
except OSError as error:
    print(error.errno)
";
    scene.under(&["write=EIO@0%"]).go(&[&python(), "-c", script]).said("5");
}

#[test]
fn nothing_is_enabled_from_inside_beyond_a_limit() {
    let scene = Scene::new();
    let guest = compile("inside", "inside", &[]);
    let done = scene
        .under(&["pread=EIO"])
        .options(&["--max-faults", "1"])
        .go(&[&guest, "read", "read", "enable", "error", "get:left"]);
    said(done, &["read EIO", "read ok", "enable 125", "error the run has had all of its max_faults", "get 0"]);
}

#[test]
fn many_threads_begin_and_end_at_once() {
    let scene = Scene::new();
    let script = "
import ctypes, os, threading
chaos = ctypes.CDLL(None)
fd = os.open('data.bin', os.O_RDONLY)
wrong = []
def read():
    try:
        os.pread(fd, 1, 0)
        return 0
    except OSError as error:
        return error.errno
def work(number):
    errno = [5, 28, 122, 12][number]
    spec = b'pread=' + [b'EIO', b'ENOSPC', b'EDQUOT', b'ENOMEM'][number]
    for _ in range(50):
        said = [chaos.chaos_begin(spec), read(), chaos.chaos_end(), read()]
        if said != [0, errno, 0, 0]:
            wrong.append((number, said))
threads = [threading.Thread(target=work, args=(number,)) for number in range(4)]
[thread.start() for thread in threads]
[thread.join() for thread in threads]
print(wrong, chaos.chaos_injections())
";
    let done = scene.under(&["write=EIO@0%"]).go(&[&python(), "-c", script]).said("[] 200");
    assert_eq!(done.injections().len(), 200);
}
