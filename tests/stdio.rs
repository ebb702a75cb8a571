//! C streams: what a failed call returns and leaves behind, compared with streams that the kernel itself fails, and
//! real programs that live by them.

#[expect(dead_code, reason = "each topic uses its part of the helpers")]
mod common;

use common::complaints::Complaints;
use common::{Done, Scene, compile, guest, program};

const READS: &[&str] = &[
    "fread",
    "fread_items",
    "fread_unlocked",
    "fgets",
    "fgets_unlocked",
    "getc",
    "fgetc",
    "getc_unlocked",
    "fgetwc",
    "fscanf",
    "getline",
    "getdelim",
];
const WRITES: &[&str] = &[
    "fwrite",
    "fwrite_unlocked",
    "fputs",
    "fputs_unlocked",
    "fprintf",
    "fprintf_many",
    "putc",
    "fputc",
    "putc_unlocked",
    "fputwc",
];

/// The guest as most packages are built: optimised, with the checked names and the inline forms of getc and putc.
fn fortified() -> String {
    compile("stdio", "stdio-fortified", &["-O2", "-fbuiltin", "-D_FORTIFY_SOURCE=2"])
}

fn builds() -> [String; 2] {
    [guest("stdio"), fortified()]
}

/// Lines of text, none twice: 48 bytes each, so that items of 16 bytes fill the whole. One flipped bit makes a NUL of
/// none of them.
fn text() -> String {
    let text: String =
        (0..300).map(|number| format!("line-{number:03}-of-a-text-longer-than-a-streams-buffer\n")).collect();
    assert_eq!(text.len(), 300 * 48);
    text
}

fn scene() -> Scene {
    let scene = Scene::new();
    scene.write("in.txt", text());
    scene.write("out.txt", "");
    scene
}

/// How often each rule's fault was refused, with the reason.
fn unsuitable(done: &Done) -> Vec<String> {
    done.lines("event").iter().map(ToString::to_string).filter(|line| line.contains("unsuitable")).collect()
}

#[test]
fn the_optimised_guest_calls_what_packages_call() {
    let nm = std::process::Command::new(program("nm", "binutils")).args(["-D", "-u", &fortified()]).output().unwrap();
    let symbols = String::from_utf8(nm.stdout).unwrap();
    for name in ["__fread_chk", "__fgets_chk", "__fprintf_chk", "__printf_chk", "__uflow", "__overflow", "__getdelim"] {
        assert!(symbols.contains(&format!(" {name}@")), "{name} is not in\n{symbols}");
    }
}

#[test]
fn a_failed_call_leaves_what_a_failing_kernel_leaves() {
    let scene = scene();
    let mut complaints = Complaints::default();
    // The kernel fails every read of unmapped memory with EIO, every write to a full device with ENOSPC.
    let kinds =
        [("read", "/proc/self/mem", "in.txt", "EIO", READS), ("write", "/dev/full", "out.txt", "ENOSPC", WRITES)];
    for stdio in &builds() {
        for (kind, oracle, file, errno, calls) in kinds {
            let run = |path| [&[stdio, "once", kind, path], calls].concat();
            let kernel = scene.bare().go(&run(oracle)).ended(0);
            complaints.expect("lines", kernel.out.lines().filter(|line| line.contains(errno)).count(), calls.len());
            let all = "fread,fgets,getc,getline,fscanf,fwrite,fputs,putc,fprintf";
            let fault = format!("error calls={all} errno={errno} path={file}");
            let ours = scene.under(&[&fault]).go(&run(file)).ended(0);
            complaints.expect(stdio, ours.out.clone(), kernel.out);
            complaints.expect("injections", ours.injections().len(), calls.len());
        }
    }
    complaints.none();
}

#[test]
fn a_failed_flush_loses_what_waited_as_on_a_full_device() {
    let scene = scene();
    let mut complaints = Complaints::default();
    for call in ["fflush", "fseek", "fclose"] {
        let kernel = scene.bare().go(&[&guest("stdio"), "flush", call, "/dev/full"]).ended(0);
        let fault = format!("error calls={call} errno=ENOSPC path=out.txt nth=1");
        let ours = scene.under(&[&fault]).go(&[&guest("stdio"), "flush", call, "out.txt"]).ended(0);
        complaints.expect(call, ours.out.clone(), kernel.out);
        complaints.expect("what was written", scene.read("out.txt"), Vec::new());
        complaints.expect("injections", ours.injections().len(), 1);
    }
    complaints.none();
}

#[test]
fn no_byte_is_lost_by_reads_that_fail_and_are_tried_again() {
    let scene = scene();
    let mut complaints = Complaints::default();
    for stdio in &builds() {
        for call in READS {
            let done = scene
                .under(&["error calls=stdio errno=EIO path=in.txt every=4"])
                .go(&[stdio, "readall", call, "in.txt"])
                .ended(0);
            let (came, summary) = done.out.trim_end().rsplit_once('\n').unwrap();
            complaints.check(came == text(), || format!("{call}: what came differs from the file"));
            complaints.check(summary.ends_with(", 0 wrong"), || format!("{call}: {summary}"));
            // At the end of the file the failure is one of the call that finds the end.
            let failures: usize = summary.split(' ').next().unwrap().parse().unwrap();
            complaints.check(failures > 0, || format!("{call}: nothing failed"));
            complaints.expect(&format!("{call} in the log"), done.injections().len(), failures);
        }
    }
    complaints.none();
}

#[test]
fn a_write_fails_where_the_kernel_would_be_asked() {
    let scene = scene();
    let mut complaints = Complaints::default();
    let fault = "error calls=fwrite,fputs,putc,fprintf errno=ENOSPC path=out.txt";
    for stdio in &builds() {
        for call in WRITES.iter().chain(&["fprintf_stack", "vfprintf"]) {
            for buffer in ["usual", "lines", "none", "small"] {
                // How many bytes a wide character is, and whether formatted text ends a line, is not known: they may fail.
                if *call == "fputwc" && buffer != "none" || call.contains("printf") && buffer == "lines" {
                    continue;
                }
                let kernel = scene.bare().go(&[stdio, "until", buffer, call, "/dev/full"]).ended(0);
                complaints.check(kernel.out.starts_with("failed at "), || kernel.story());
                let ours = scene.under(&[fault]).go(&[stdio, "until", buffer, call, "out.txt"]).ended(0);
                complaints.expect(&format!("{call}, buffer {buffer}"), ours.out, kernel.out);
            }
        }
    }
    complaints.none();
}

#[test]
fn nothing_is_lost_or_written_twice_by_writes_that_fail_and_are_tried_again() {
    let scene = scene();
    let mut complaints = Complaints::default();
    for stdio in &builds() {
        for call in WRITES.iter().chain(&["dprintf"]) {
            scene.bare().go(&[stdio, "writeall", call, "out.txt"]).said("0 failures, 0 wrong");
            let wanted = scene.read("out.txt");
            assert!(wanted.len() > 10_000, "{call}");
            let calls = "fwrite,fputs,putc,fprintf";
            let done = scene
                .under(&[&format!("error calls={calls} errno=ENOSPC path=out.txt every=5")])
                .go(&[stdio, "writeall", call, "out.txt"])
                .ended(0);
            complaints.check(scene.read("out.txt") == wanted, || format!("{call}: the file differs"));
            complaints.check(done.out.ends_with(" failures, 0 wrong\n"), || format!("{call}: {}", done.out));
            let failures: usize = done.out.split(' ').next().unwrap().parse().unwrap();
            complaints.check(failures > 0, || format!("{call}: nothing failed"));
            complaints.expect(&format!("{call} in the log"), done.injections().len(), failures);
        }
    }
    complaints.none();
}

#[test]
fn the_log_names_the_file_the_call_and_what_the_caller_got() {
    let scene = scene();
    let done = scene.under(&["fgets=EIO@2"]).go(&[&guest("stdio"), "readall", "fgets", "in.txt"]).ended(0);
    let injections = done.injections();
    assert_eq!(injections.len(), 1, "{}", done.story());
    let line = &injections[0];
    assert_eq!(line["call"].as_str(), Some("fgets"));
    assert_eq!(line["errno"].as_str(), Some("EIO"));
    assert_eq!(line["requested"].as_u64(), Some(64), "the room of its buffer");
    assert_eq!(line["result"].as_i64(), Some(0), "NULL");
    assert_eq!(line["delivered"].as_bool(), Some(true));
    assert_eq!(line["resource"].as_str(), std::fs::canonicalize(scene.path("in.txt")).unwrap().to_str());
}

#[test]
fn a_failed_fclose_still_closes() {
    let scene = scene();
    let done = scene.under(&["fclose=EIO path=in.txt"]).go(&[&guest("stdio"), "closes", "in.txt"]);
    done.said("failed 50, left open 0");
}

#[test]
fn a_read_does_not_fail_once_its_stream_is_at_its_end() {
    let scene = scene();
    // Twice the end is read, once more after clearerr; what comes then asks nobody.
    let length = text().len();
    let fault = format!("error calls=getc,fgets errno=EIO path=in.txt after={}", length + 2);
    let done = scene.under(&[&fault]).go(&[&guest("stdio"), "end", "in.txt"]);
    let done = done.said("getc -1 0 error 0 end 1 fgets NULL");
    assert_eq!(done.injections().len(), 0);
    assert!(unsuitable(&done).iter().any(|line| line.contains("the stream is at its end")), "{}", done.story());
}

#[test]
fn a_stream_fails_as_what_is_below_it_can() {
    let scene = scene();
    let stdio = guest("stdio");
    let mut complaints = Complaints::default();
    let mut pipe = |fault: &str, words: &[&str], wanted: &str, injected: usize| {
        let done = scene.under(&[fault]).go(&[&[stdio.as_str(), "pipe"], words].concat()).ended(0);
        complaints.expect(fault, done.out.clone(), wanted.to_owned());
        complaints.expect(&format!("{fault}: injections"), done.injections().len(), injected);
    };
    let failed = "fgets NULL EINTR error 1 end 0\nfgets line 0 error 0 end 0\n";
    pipe("error calls=fgets errno=EINTR nth=1", &["fgets"], failed, 1);
    let whole = "fgets line 0 error 0 end 0\nfgets line 0 error 0 end 0\n";
    pipe("error calls=fgets errno=EAGAIN", &["fgets"], whole, 0);
    pipe("error calls=fgets errno=EIO", &["fgets"], whole, 0);
    pipe("error calls=fgets errno=ECONNRESET", &["fgets"], whole, 0);
    let nothing = "fgets NULL EAGAIN error 1 end 0\nfgets NULL EAGAIN error 1 end 0\n";
    pipe("error calls=fgets errno=EAGAIN", &["fgets", "nonblock"], nothing, 2);
    pipe("hang calls=fgets for=1s", &["fgets", "nonblock"], nothing, 0);
    pipe("error calls=fputs errno=ENOSPC", &["fputs"], "fputs 0 0 error 0\n", 0);
    complaints.none();
    // EPIPE comes with its signal.
    scene.under(&["error calls=fflush errno=EPIPE"]).go(&[&stdio, "pipe", "fflush"]).ended(141);
    // A file is neither interrupted nor not ready.
    for errno in ["EINTR", "EAGAIN", "EPIPE", "ECONNRESET"] {
        let fault = format!("error calls=fgets,fread errno={errno}");
        let done = scene.under(&[&fault]).go(&[&stdio, "readall", "fgets", "in.txt"]).ended(0);
        assert!(done.out.ends_with("\n0 failures, 0 wrong\n"), "{}", done.story());
        assert_eq!(unsuitable(&done).len(), 1, "{}", done.story());
    }
}

#[test]
fn a_stream_over_a_connection_fails_as_its_socket() {
    let scene = scene();
    let run = |fault: &str| scene.under(&[fault]).go(&[&guest("stdio"), "peer"]).ended(0);
    let well = "out 0 0 error 0\nout 0 0 error 0\nin NULL EAGAIN error 1 end 0\n";
    scene.bare().go(&[&guest("stdio"), "peer"]).said(well);
    assert_eq!(run("error calls=fflush errno=ECONNRESET to=10.0.0.0/8").out, well);
    // Reset once, the connection stays cut: the kernel itself fails the next line, and the other side hears the end.
    let done = run("error calls=fflush errno=ECONNRESET to=127.0.0.0/8 times=1");
    assert_eq!(
        done.out,
        "out -1 ECONNRESET error 1\nout -1 EPIPE error 1\nin NULL 0 error 0 end 1\n",
        "{}",
        done.story()
    );
    assert!(done.injections()[0]["resource"].as_str().is_some_and(|peer| peer.starts_with("127.0.0.1:")));
    // A hang ends when the socket's own patience does.
    let done = run("hang calls=fgets to=127.0.0.1 for=50s");
    assert_eq!((done.out.as_str(), done.injections().len()), (well, 1), "{}", done.story());
}

#[test]
fn a_hang_ends_with_eintr_where_a_read_would() {
    let scene = scene();
    let fault = "hang calls=fgets for=30s";
    scene.under(&[fault]).go(&[&guest("stdio"), "alarm"]).said("NULL EINTR error 1");
}

#[test]
fn a_thread_that_hangs_in_fgets_can_be_cancelled() {
    let scene = scene();
    let fault = "hang calls=fgets path=in.txt";
    scene
        .under(&[fault])
        .options(&["--timeout", "30s"])
        .go(&[&guest("stdio"), "cancel", "in.txt"])
        .said("cancelled 1 cleaned 1");
}

#[test]
fn streams_in_memory_are_none_of_the_kernels() {
    let scene = scene();
    let done = scene.under(&["stdio=EIO"]).options(&["--fault", "latency calls=stdio delay=1us"]);
    let done = done.go(&[&guest("stdio"), "memory"]).said("good").followed();
    assert_eq!(done.injections().len(), 0, "{}", done.story());
}

#[test]
fn standard_streams_are_hit_only_by_a_rule_that_names_their_descriptors() {
    let scene = scene();
    let good = "text\n7\nfgets line puts 0 printf 2 fflush 0";
    let run = |fault: &str| scene.under(&[fault]).stdin("line\n").go(&[&guest("stdio"), "standard"]).ended(0);
    let lines = |out: &str| out.lines().filter(|line| line.starts_with("fgets")).collect::<String>();
    let done = run("stdio=EIO");
    assert_eq!((done.out.trim_end(), done.injections().len()), (good, 0), "{}", done.story());
    let done = run("error calls=stdio errno=EIO fd=0");
    assert_eq!(lines(&done.out), "fgets NULL puts 0 printf 2 fflush 0");
    let done = run("error calls=stdio errno=ENOSPC fd=1");
    // What fits into the buffer is written, and fails, later.
    assert_eq!(lines(&done.out), "fgets line puts 0 printf 2 fflush -1", "{}", done.story());
    let done = run("error calls=fflush errno=ENOSPC fd=1");
    assert_eq!(done.out.trim_end(), "fgets line puts 0 printf 2 fflush -1", "{}", done.story());
}

#[test]
fn direction_size_caller_and_not_choose_among_stream_calls() {
    let scene = scene();
    let stdio = guest("stdio");
    let mut complaints = Complaints::default();
    let mut hits = |fault: &str, mode: &str, call: &str, wanted: bool| {
        let done = scene.under(&[&format!("{fault} times=1")]).go(&[&stdio, mode, call, "out.txt"]).ended(0);
        complaints.expect(&format!("{fault}: {call}"), done.injections().len() == 1, wanted);
    };
    for (mode, call, way, other) in [("readall", "fgets", "in", "out"), ("writeall", "fprintf", "out", "in")] {
        let errno = if way == "in" { "EIO" } else { "ENOSPC" };
        let fault = format!("error calls=fgets,fprintf errno={errno} path=out.txt");
        hits(&fault, mode, call, true);
        hits(&format!("error calls=stdio errno={errno} path=out.txt direction={way}"), mode, call, true);
        hits(&format!("error calls=stdio errno={errno} path=out.txt direction={other}"), mode, call, false);
        hits(&format!("{fault} caller=stdio"), mode, call, true);
        hits(&format!("{fault} caller=libother*"), mode, call, false);
        hits(&format!("{fault} not.calls={call}"), mode, call, false);
        hits(&format!("{fault} not.path=out.*"), mode, call, false);
    }
    hits("error calls=fgets errno=EIO path=out.txt size=64", "readall", "fgets", true);
    hits("error calls=fgets errno=EIO path=out.txt size=65B..1MB", "readall", "fgets", false);
    complaints.none();
}

#[test]
fn rules_that_do_not_fire_change_nothing() {
    let scene = scene();
    for stdio in &builds() {
        for faults in [&["connect=ECONNREFUSED"][..], &["stdio=EIO@0.0001%"], &["latency calls=stdio delay=1us"]] {
            scene.under(faults).go(&[stdio, "sentinel", "in.txt"]).said("good 77").followed();
            let done = scene.under(faults).go(&[stdio, "readall", "fscanf", "in.txt"]).ended(0);
            assert_eq!(done.out, format!("{}\n0 failures, 0 wrong\n", text()));
        }
    }
}

#[test]
fn descriptors_run_out_for_streams_as_with_ulimit() {
    let scene = scene();
    let done = scene.under(&["exhaust what=files limit=20"]).go(&[&guest("stdio"), "open", "in.txt"]).ended(0);
    let line = format!("ulimit -n 20; exec {} open in.txt", guest("stdio"));
    let kernel = scene.bare().go(&[&program("bash", "bash"), "-c", &line]).ended(0);
    assert!(kernel.out.contains("EMFILE"), "{}", kernel.story());
    done.said(&kernel.out);
}

#[test]
fn a_failed_freopen_closes_what_was_open() {
    let scene = scene();
    let kernel = scene.bare().go(&[&guest("stdio"), "reopen", "not-there"]).said("NULL ENOENT, descriptor closed");
    let done = scene.under(&["error calls=fopen errno=ENOENT path=in.txt"]).go(&[&guest("stdio"), "reopen", "in.txt"]);
    assert_eq!(done.injections().len(), 1, "{}", done.story());
    done.said(&kernel.out);
}

/// How many bits differ, and how many bytes.
fn difference(left: &[u8], right: &[u8]) -> (u32, usize) {
    let pairs = || left.iter().zip(right).filter(|(a, b)| a != b);
    (pairs().map(|(a, b)| (a ^ b).count_ones()).sum(), pairs().count())
}

#[test]
fn corrupt_flips_bits_of_what_streams_read_and_write_and_keeps_lines_whole() {
    let whole = text().into_bytes();
    for call in ["fread", "fgets", "getline", "getdelim"] {
        let scene = scene();
        let fault = "corrupt calls=fread,fgets,getline path=in.txt flip=1bit/64KB every=3";
        let done = scene.under(&[fault]).go(&[&guest("stdio"), "readall", call, "in.txt"]).ended(0);
        let raw = scene.read("stdout-0");
        assert!(raw.len() >= whole.len(), "{call}: {}", done.story());
        let (bits, bytes) = difference(&raw[..whole.len()], &whole);
        let injections = done.injections().len();
        assert!(injections > 10, "{call}: {injections}");
        assert!(bytes > 0 && bytes <= injections, "{call}: {bytes} bytes changed by {injections} injections");
        assert!(bits as usize <= 2 * injections, "{call}: {bits} bits changed by {injections} injections");
        if call != "fread" {
            let delimiter = if call == "getdelim" { b'5' } else { b'\n' };
            let ends = |text: &[u8]| text.iter().filter(|byte| **byte == delimiter).count();
            assert_eq!(ends(&raw[..whole.len()]), ends(&whole), "{call}");
        }
    }
}

#[test]
fn corrupt_changes_what_fwrite_writes_and_not_the_programs_own_buffer() {
    let scene = scene();
    scene.bare().go(&[&guest("stdio"), "writeall", "fwrite", "out.txt"]).ended(0);
    let wanted = scene.read("out.txt");
    let done = scene.under(&["corrupt calls=fwrite path=out.txt every=10"]);
    let done = done.go(&[&guest("stdio"), "writeall", "fwrite", "out.txt"]).said("0 failures, 0 wrong");
    let (bits, bytes) = difference(&scene.read("out.txt"), &wanted);
    assert_eq!((bits, bytes, done.injections().len()), (200, 200, 200), "one bit in every tenth call of 2000");
}

/// One run of a real program: its words, the fault, its exit code, what it says on stderr, how often it was hit.
type Case<'a> = (&'a [&'a str], &'a str, i32, &'a str, usize);

#[test]
fn real_programs_report_what_their_streams_suffer() {
    let scene = Scene::new();
    scene.write("lines.txt", (1..=20000).map(|number| format!("{number}\n")).collect::<String>());
    scene.write("Makefile", "all:\n\t@echo made\n");
    scene.write("main.c", "int main(void) { return 0; }\n");
    let tool = |name: &str, package: &str| program(name, package);
    let (sort, sed, bzip2) = (tool("sort", "coreutils"), tool("sed", "sed"), tool("bzip2", "bzip2"));
    let (uniq, comm, cut, seq) =
        (tool("uniq", "coreutils"), tool("comm", "coreutils"), tool("cut", "coreutils"), tool("seq", "coreutils"));
    let (make, bash, gcc) = (tool("make", "make"), tool("bash", "bash"), tool("gcc", "gcc"));
    let (no_read, full) = ("Input/output error", "No space left on device");
    let cases: &[Case] = &[
        (&[&sort, "lines.txt"], "fread=EIO path=lines.txt", 2, no_read, 1),
        (&[&sort, "lines.txt"], "error calls=fwrite errno=ENOSPC fd=1 times=1", 2, "write failed", 1),
        (&[&sort, "lines.txt"], "error calls=fclose errno=ENOSPC fd=1", 2, full, 1),
        (&[&sed, "-i", "s/1/2/", "lines.txt"], "error calls=getline errno=EIO path=lines.txt nth=9", 4, no_read, 1),
        (&[&sed, "-i", "s/1/2/", "lines.txt"], "error calls=fwrite,fflush errno=ENOSPC path=sed* times=1", 4, full, 1),
        (&[&bzip2, "-k", "lines.txt"], "error calls=fread errno=EIO path=lines.txt nth=2", 1, no_read, 1),
        (&[&bzip2, "-k", "lines.txt"], "error calls=fflush,fclose errno=ENOSPC path=*.bz2 nth=1", 1, full, 1),
        // It opens its file in place of stdin.
        (&[&uniq, "lines.txt"], "error calls=getc errno=EIO fd=0 nth=3", 1, "error reading", 1),
        (&[&comm, "lines.txt", "lines.txt"], "error calls=getc errno=EIO path=lines.txt nth=5", 1, no_read, 1),
        (&[&cut, "-c1", "lines.txt"], "error calls=stdio errno=EIO path=lines.txt nth=4", 1, no_read, 1),
        (&[&make], "error calls=fgets errno=EIO path=Makefile", 2, "Makefile: Input/output error", 1),
        (
            &[&bash, "-c", "echo one"],
            "error calls=stdio errno=ENOSPC fd=1 times=1",
            1,
            "echo: write error: No space",
            1,
        ),
        (&[&seq, "9"], "error calls=stdio errno=ENOSPC fd=1 times=1", 1, full, 1),
        (&[&gcc, "-S", "main.c"], "error calls=fclose errno=ENOSPC path=main.s", 1, full, 1),
    ];
    let mut complaints = Complaints::default();
    let lines = scene.read("lines.txt");
    for (command, fault, code, message, hits) in cases {
        let done = scene.under(&[fault]).go(command);
        let told = done.code == *code && done.err.contains(message) && done.injections().len() == *hits;
        complaints.check(told, || format!("{fault}: {}", done.story()));
        complaints.check(scene.read("lines.txt") == lines, || format!("{fault}: the input has changed"));
        complaints.check(!scene.path("lines.txt.bz2").exists(), || format!("{fault}: half a file was left"));
    }
    complaints.none();
}

#[test]
fn bzip2_finds_what_was_corrupted_on_its_way_in_or_out() {
    let scene = Scene::new();
    scene.write("lines.txt", (1..=20000).map(|number| format!("{number}\n")).collect::<String>());
    let bzip2 = program("bzip2", "bzip2");
    scene.bare().go(&[&bzip2, "-k", "lines.txt"]).ended(0);
    let done = scene.under(&["corrupt calls=fread path=*.bz2 nth=1"]).go(&[&bzip2, "-t", "lines.txt.bz2"]).ended(2);
    assert_eq!(done.injections().len(), 1, "{}", done.story());
    scene.bare().go(&[&bzip2, "-t", "lines.txt.bz2"]).ended(0);
    let done = scene.under(&["corrupt calls=fwrite path=*.bz2 nth=2"]).go(&[&bzip2, "-kf", "lines.txt"]).ended(0);
    assert_eq!(done.injections().len(), 1, "{}", done.story());
    scene.bare().go(&[&bzip2, "-t", "lines.txt.bz2"]).ended(2);
}

#[test]
fn sqlite_takes_a_read_error_of_its_script_for_the_end() {
    let scene = Scene::new();
    scene.write("script.sql", "select 'one';\nselect 'two';\n");
    let sqlite = program("sqlite3", "sqlite3");
    let command = [sqlite.as_str(), ":memory:", ".read script.sql"];
    scene.under(&["connect=EIO"]).go(&command).said("one\ntwo").followed();
    // A real finding: the shell does not look at ferror.
    let done = scene.under(&["error calls=fgets errno=EIO path=script.sql nth=2"]).go(&command).said("one");
    assert_eq!(done.injections().len(), 1);
}

#[test]
fn the_same_seed_fails_the_same_calls() {
    let scene = scene();
    let fault = "error calls=fgets errno=EIO path=in.txt rate=5%";
    let run = |seed: &str| {
        let done =
            scene.under(&[fault]).options(&["--seed", seed]).go(&[&guest("stdio"), "readall", "fgets", "in.txt"]);
        let numbers = |line: &serde_json::Value| line["nth"].as_u64().unwrap();
        done.ended(0).injections().iter().map(numbers).collect::<Vec<_>>()
    };
    let first = run("7");
    assert!(first.len() > 10, "{first:?}");
    assert_eq!(first, run("7"));
    assert_ne!(first, run("8"));
}
