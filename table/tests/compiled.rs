//! What a good table compiles to, checked on the fields that the shim reads and by deciding with them.

use chaos_table::calls::{CALLS, Call, Failure, Family, FaultKind, Op};
use chaos_table::compile::{Compiled, Context, compile};
use chaos_table::decide::{Patterns, Peer, rate_threshold};
use chaos_table::files::from_yaml;
use chaos_table::rule::{ALWAYS, Plan, RULE_BITS, Rule, TRACK, arm, change, exhaust, flag, matcher, shape};
use chaos_table::schema::Table;
use chaos_table::spec::{parse_spec, parse_specs};
use std::path::Path;

fn compiled(table: &Table) -> Compiled {
    compile(table, &Context { work_dir: Path::new("/srv/app"), seed: 7 }).unwrap()
}

fn specs(text: &str) -> Compiled {
    compiled(&Table { faults: parse_specs(text, "t").unwrap(), ..Table::default() })
}

fn yaml(text: &str) -> Compiled {
    compiled(&from_yaml(text, "t.yaml").unwrap())
}

fn rule(text: &str) -> Rule {
    specs(text).plan.rules[0]
}

/// The operations with the bit of the first rule, in `masks`.
fn ops(masks: &[u64]) -> Vec<&'static str> {
    CALLS.iter().filter(|call| masks[call.op as usize] & 1 != 0).map(Call::name).collect()
}

fn patterns(plan: &Plan) -> Patterns<'_> {
    Patterns { matchers: &plan.matchers, text: &plan.text }
}

#[test]
fn short_forms_are_long_forms() {
    for (short, long) in [
        ("read=EIO@10%", "error calls=read errno=EIO rate=10%"),
        ("connect=ECONNREFUSED@3..5", "error calls=connect errno=ECONNREFUSED nth=3..5"),
        ("malloc=ENOMEM@100", "error calls=malloc errno=ENOMEM nth=100"),
        ("write=short@20%", "short calls=write rate=0.2"),
        ("write=short:25%@2..+3", "short calls=write keep=25% nth=2..+3"),
        ("connect=latency:200ms", "latency calls=connect delay=200ms"),
        ("openat,open=EMFILE", "error calls=open,open errno=EMFILE"),
        ("getaddrinfo=EAI_AGAIN", "error calls=getaddrinfo errno=EAI_AGAIN"),
        ("getaddrinfo=dns", "dns calls=getaddrinfo"),
        ("getaddrinfo=dns:try-again", "dns calls=getaddrinfo answer=try-again"),
        ("write=signal:KILL@3", "signal calls=write signal=9 nth=3"),
        ("read=exit:3", "exit calls=read code=3"),
        ("read=hang:2s", "hang calls=read for=2s"),
        ("read=corrupt@5%", "corrupt calls=read rate=5%"),
        ("read=corrupt:3bits", "corrupt calls=read flip=3bits"),
        ("write=drop@3", "drop calls=write nth=3"),
        ("write=torn:30%@1", "torn calls=write keep=30% nth=1"),
        ("read=return:0@2", "return calls=read value=0 nth=2"),
        ("write=return:-1", "return calls=write retval=-1"),
        ("write=exhaust:1MB", "exhaust calls=write what=disk limit=1MB"),
        ("read=EIO,EINTR:2@1%", "error calls=read errno=EIO,EINTR:2 rate=1%"),
        ("connect=refuse", "refuse calls=connect"),
        ("recv=disconnect:end", "disconnect calls=recv mode=end"),
        ("memory=exhaust:10MB", "exhaust calls=memory what=memory limit=10MB"),
        ("open=exhaust:64", "exhaust calls=open what=files limit=64"),
        ("read=error", "error calls=read"),
        ("read=EIO@10% path=\"*.db\",*.wal", "error calls=read errno=EIO rate=10% path=*.db,*.wal"),
        ("fopen64=EACCES", "error calls=fopen errno=EACCES"),
        ("disk_io=latency:1s", "latency calls=disk delay=1s"),
        ("fault=error calls=read probability=0.5 duration_seconds=3", "error calls=read rate=50% for=3s"),
        ("latency calls=read duration_ms=50", "latency calls=read delay=50ms"),
    ] {
        assert_eq!(parse_spec(short, "").unwrap(), parse_spec(long, "").unwrap(), "{short}");
    }
}

#[test]
fn specs_are_split_outside_quotes() {
    let faults = parse_specs("read=EIO; error calls=write message=\"a;b\\\"c\" ;\n# note\nwrite=short", "").unwrap();
    assert_eq!(faults.len(), 3);
    assert_eq!(faults[1].message.as_ref().unwrap().0, "a;b\"c");
}

#[test]
fn defaults_are_those_that_the_documentation_names() {
    assert_eq!(rule("short").keep_ppm, 500_000);
    assert_eq!((rule("corrupt").flip_bits, rule("corrupt").flip_per), (1, 65536));
    let zero = rule("corrupt zero=512B/64KB");
    assert_eq!((zero.change, zero.flip_bits, zero.flip_per), (change::ZERO, 512, 65536));
    assert_eq!(
        (rule("corrupt duplicate=10%").change, rule("corrupt duplicate=10%").keep_ppm),
        (change::DUPLICATE, 100_000)
    );
    assert_eq!(
        (rule("corrupt truncate=0.3").change, rule("corrupt truncate=0.3").keep_ppm),
        (change::TRUNCATE, 300_000)
    );
    let torn = rule("torn");
    assert_eq!((torn.keep_ppm, torn.errno_count, torn.has(flag::KILLS)), (500_000, 0, false));
    assert!(rule("torn then=kill").has(flag::KILLS));
    assert_eq!(rule("return calls=read value=-1").value, -1);
    assert_eq!(rule("latency calls=read jitter=1ms distribution=pareto").delay.shape, shape::PARETO);
    let disk = rule("exhaust what=disk limit=1MB");
    assert_eq!((disk.what, disk.limit), (exhaust::DISK, 1 << 20));
    assert_eq!(
        (rule("latency calls=read").delay.base_ns, rule("latency calls=read").delay.shape),
        (500_000_000, shape::FIXED)
    );
    assert_eq!(rule("latency calls=read jitter=1ms").delay.shape, shape::UNIFORM);
    assert_eq!(rule("latency calls=read jitter=1ms distribution=normal").delay.shape, shape::NORMAL);
    assert_eq!(rule("exit calls=read").code, 1);
    assert_eq!(rule("signal calls=read").code, libc::SIGKILL);
    assert_eq!(rule("dns").code, libc::EAI_NONAME);
    assert!(!rule("disconnect").has(flag::SILENT) && rule("disconnect mode=end").has(flag::SILENT));
    let plain = rule("error calls=read");
    assert_eq!((plain.rate, plain.errno_count, plain.until_ns, plain.times), (ALWAYS, 0, u64::MAX, 0));
    assert!(!plain.has(flag::COUNTS));
    let exhaustion = rule("exhaust what=memory limit=1MB");
    assert_eq!((exhaustion.what, exhaustion.limit), (exhaust::MEMORY, 1 << 20));
}

#[test]
fn when_becomes_numbers() {
    let timed = rule("latency calls=read from=5s for=20s");
    assert_eq!((timed.from_ns, timed.until_ns), (5_000_000_000, 25_000_000_000));
    let counted = rule("error calls=read nth=2..+3 after=4 times=5 rate=25%");
    assert_eq!((counted.nth_first, counted.nth_last, counted.nth_step), (2, u64::MAX, 3));
    assert_eq!((counted.after, counted.times, counted.rate), (4, 5, rate_threshold(0.25)));
    assert!(counted.has(flag::COUNTS));
    // The longest block, not the window.
    let hang = rule("hang calls=read from=1s for=2s");
    assert_eq!((hang.delay.base_ns, hang.from_ns, hang.until_ns), (2_000_000_000, 1_000_000_000, u64::MAX));
    assert_eq!(rule("hang calls=read").delay.base_ns, 0);
    let look_up = rule("dns answer=hang for=2s");
    assert_eq!((look_up.code, look_up.delay.base_ns, look_up.until_ns), (0, 2_000_000_000, u64::MAX));
}

#[test]
fn errnos_are_weighted() {
    let rule = rule("read=EIO:3,EINTR");
    assert_eq!(rule.errno_count, 2);
    assert_eq!((rule.errnos[0].code, rule.errnos[0].cumulative), (libc::EINTR, 1));
    assert_eq!((rule.errnos[1].code, rule.errnos[1].cumulative), (libc::EIO, 4));
}

#[test]
fn an_unusual_errno_is_a_warning() {
    let odd = specs("read=EXDEV");
    assert_eq!(odd.warnings.len(), 1);
    assert!(odd.warnings[0].contains("EXDEV is not usual for read"), "{:?}", odd.warnings);
    assert!(specs("read=EIO").warnings.is_empty());
    assert!(specs("read=EIO@0%").warnings[0].contains("never fires"));
    assert!(specs("read=latency:0us").warnings[0].contains("changes nothing"));
}

#[test]
fn families_expand_to_what_the_fault_fits() {
    let latency = specs("latency calls=memory").plan;
    let mapped = ["strdup", "mmap", "mremap", "brk"];
    let allocated = ["malloc", "calloc", "realloc", "memalign", "posix_memalign"];
    assert_eq!(ops(&latency.header.planned), [&allocated[..], &mapped].concat());
    let full = specs("disk=ENOSPC,EDQUOT").plan;
    let writes = ["write", "pwrite", "writev", "pwritev", "close"];
    let grow = ["mkstemp", "mkdtemp", "fsync", "fdatasync", "syncfs", "fallocate", "copy_file_range"];
    let name = ["rename", "link", "symlink", "mkdir", "mknod", "setxattr", "fsetxattr"];
    assert_eq!(ops(&full.header.planned), [&writes[..], &grow, &name].concat());
    // What works on any descriptor is told apart by it; what cannot be a socket needs no question.
    assert_eq!(ops(&full.header.only_files), ["write", "writev", "close"]);
    assert_eq!(ops(&full.header.only_sockets), [""; 0]);
    let network = specs("latency calls=network").plan;
    let expected: Vec<&str> = CALLS.iter().filter(|call| call.is_in(Family::Network)).map(Call::name).collect();
    assert_eq!(ops(&network.header.planned), expected);
    assert_eq!(ops(&network.header.only_sockets), ["read", "readv", "write", "writev", "close", "sendfile", "splice"]);
    let both = specs("latency calls=network,disk").plan;
    assert_eq!((ops(&both.header.only_sockets), ops(&both.header.only_files)), (vec![], vec![]));
    let named = specs("latency calls=disk,read").plan;
    assert!(!ops(&named.header.only_files).contains(&"read"));
    assert!(ops(&named.header.only_files).contains(&"write"));
    // An errno in a family takes getaddrinfo out, an EAI code leaves nothing else.
    assert!(!ops(&specs("network=ECONNRESET").plan.header.planned).contains(&"getaddrinfo"));
    let names = ["getaddrinfo", "getnameinfo", "gethostbyname", "gethostbyaddr"];
    assert_eq!(ops(&specs("network=EAI_AGAIN").plan.header.planned), names);
}

#[test]
fn sockets_are_asked_for_where_they_are_meant() {
    let to = specs("error calls=read,recv to=:5432 errno=ECONNRESET").plan;
    assert_eq!(ops(&to.header.only_sockets), ["read"]);
    assert_eq!(ops(&specs("disconnect").plan.header.only_sockets), ["read", "readv", "write", "writev", "sendfile"]);
    // A peer takes what cannot be a socket out of the defaults, a path what cannot be a file.
    let planned = |spec: &str| ops(&specs(spec).plan.header.planned).join(" ");
    assert_eq!(planned("corrupt to=:80"), "read readv recv recvfrom fread fgets getline");
    assert_eq!(planned("corrupt path=*.json"), "read pread readv preadv fread fgets getline");
}

#[test]
fn operations_are_tracked_only_for_rules_that_need_it() {
    let tracked = |plan: &Plan| -> Vec<&'static str> {
        CALLS.iter().filter(|call| plan.header.planned[call.op as usize] & TRACK != 0).map(Call::name).collect()
    };
    assert_eq!(tracked(&specs("malloc=ENOMEM; bind=EADDRINUSE; fork=EAGAIN").plan), [""; 0]);
    // A connect that fails is remembered by its descriptor until SO_ERROR has told it.
    let refused = specs("connect=ECONNREFUSED").plan;
    assert!(["close", "socket", "getsockopt"].iter().all(|name| tracked(&refused).contains(name)));
    assert_eq!(refused.header.needs_fd, 0);
    let needs = specs("malloc=ENOMEM; read=EIO path=*.db").plan;
    assert_eq!((needs.header.needs_fd, needs.header.needs_path, needs.header.memory), (2, 2, 1));
    // Where only a socket can be meant, no file is looked at.
    let sockets = specs("error calls=network errno=ECONNRESET; accept=ECONNABORTED; send=EIO to=:80").plan;
    assert_eq!((sockets.header.needs_fd, sockets.header.needs_path), (0b101, 0));
    assert!(
        tracked(&needs).contains(&"fclose") && tracked(&needs).contains(&"dup") && !tracked(&needs).contains(&"free")
    );
    assert_eq!(tracked(&specs("dns to=a.example.com").plan), ["getaddrinfo", "gethostbyname"]);
    let memory = specs("exhaust what=memory limit=1MB").plan;
    assert_eq!(tracked(&memory), ["malloc", "calloc", "realloc", "memalign", "posix_memalign", "free"]);
    assert_eq!(memory.header.planned[Op::Free as usize] & RULE_BITS, 0);
}

#[test]
fn protection_is_for_rules_without_a_path() {
    let plan = specs("read=EIO; read=EIO path=x; malloc=ENOMEM; connect=ECONNREFUSED; read=EIO fd=0").plan;
    let has: Vec<bool> = plan.rules.iter().map(|rule| rule.has(flag::PROTECTED)).collect();
    assert_eq!(has, [true, false, false, false, true]);
    assert_eq!(plan.header.std_fds, 0b10000);
    let protected = |path: &str| patterns(&plan).path(plan.header.protect, path.as_bytes());
    assert!(protected("/usr/lib/python3.11/os.py") && protected("/proc/self/maps") && !protected("/srv/app/data.json"));

    let none = yaml("protect: none\nfaults: [read=EIO, {fault: exit, calls: malloc}]").plan;
    assert_eq!((none.header.protect.count, none.header.std_fds, none.header.needs_fd), (0, 0b11, 0));
    let own = yaml("protect: [/opt/**]\nfaults: [read=EIO]").plan;
    assert!(patterns(&own).path(own.header.protect, b"/opt/x/y"));
    assert!(!patterns(&own).path(own.header.protect, b"/proc/self/maps"));
    let more = yaml("protect: [default, /opt/**]\nfaults: [read=EIO]").plan;
    assert!(
        patterns(&more).path(more.header.protect, b"/opt/x/y")
            && patterns(&more).path(more.header.protect, b"/proc/1/maps")
    );
}

#[test]
fn paths_match_as_the_kernel_names_them() {
    let matches = |glob: &str, path: &str| {
        let plan = specs(&format!("error calls=open path={glob}")).plan;
        patterns(&plan).path(plan.rules[0].paths, path.as_bytes())
    };
    for (glob, path, expected) in [
        ("*.db", "/var/lib/a.db", true),
        ("*.db", "/var/lib/a.db/x", false),
        ("data/**", "/srv/app/data/a/b", true),
        ("data/**", "/data/a", false),
        ("./data//*.db", "/srv/app/data/x.db", true),
        ("../other/x", "/srv/other/x", true),
        ("**/x", "/srv/app/a/b/x", true),
        ("/var/**/x.db", "/var/a/b/x.db", true),
        ("\"/a\\\\*b/c\"", "/a*b/c", true),
        ("\"/a\\\\*b/c\"", "/axb/c", false),
        ("\"{a,b}/*.c\"", "/srv/app/b/x.c", true),
        ("/exact", "/exact", true),
        ("/exact", "/exact/x", false),
    ] {
        assert_eq!(matches(glob, path), expected, "{glob} {path}");
    }
}

#[test]
fn the_working_directory_may_hold_wildcards_and_links() {
    let base = std::env::temp_dir().join(format!("chaos-table-{}", std::process::id()));
    let real = base.join("re[a]l*{x,y}");
    std::fs::create_dir_all(real.join("deep")).unwrap();
    let link = base.join("link");
    std::os::unix::fs::symlink(&real, &link).unwrap();
    std::os::unix::fs::symlink(real.join("deep"), real.join("inner")).unwrap();
    let real = std::fs::canonicalize(&real).unwrap();
    let faults = parse_specs("error calls=open path=inner/*.db", "").unwrap();
    let plan = compile(&Table { faults, ..Table::default() }, &Context { work_dir: &link, seed: 1 }).unwrap().plan;
    let matches = |path: &Path| patterns(&plan).path(plan.rules[0].paths, path.as_os_str().as_encoded_bytes());
    assert_eq!(plan.text_of(plan.header.work_dir), real.to_str().unwrap());
    assert!(matches(&real.join("deep/a.db")), "what the link points to");
    assert!(matches(&real.join("inner/a.db")), "the link itself");
    assert!(!matches(&base.join("real/inner/a.db")));
    std::fs::remove_dir_all(&base).unwrap();
    let root = compile(&Table::default(), &Context { work_dir: Path::new("/"), seed: 1 }).unwrap().plan;
    assert_eq!(root.header.work_dir.count, 0);
}

#[test]
fn peers_match_addresses_ports_names_and_sockets() {
    let v4 = |a, b, c, d, port| Peer::V4([a, b, c, d], port);
    let matches = |to: &str, peer: Peer<'_>| {
        let plan = specs(&format!("refuse to={to}")).plan;
        patterns(&plan).peer(plan.rules[0].peers, peer, 0)
    };
    assert!(matches(":5432", v4(1, 2, 3, 4, 5432)) && !matches(":5432", v4(1, 2, 3, 4, 5433)));
    assert!(matches(":5432", Peer::V6([9; 16], 5432)));
    assert!(matches("10.0.0.0/8:80", v4(10, 9, 9, 9, 80)) && !matches("10.0.0.0/8:80", v4(11, 9, 9, 9, 80)));
    assert!(matches("127.0.0.1", v4(127, 0, 0, 1, 9)) && !matches("127.0.0.1", v4(127, 0, 0, 2, 9)));
    assert!(matches("::ffff:127.0.0.1", v4(127, 0, 0, 1, 9)));
    let mut one = [0; 16];
    one[15] = 1;
    assert!(matches("\"[::1]:80\"", Peer::V6(one, 80)) && !matches("\"[::1]:80\"", Peer::V6(one, 81)));
    assert!(matches("::1", Peer::V6(one, 81)) && matches("::/0", Peer::V6([7; 16], 1)));
    assert!(matches(":8000..8099", v4(1, 1, 1, 1, 8050)));
    assert!(
        matches("unix:/run/*.sock", Peer::Unix(b"/run/x.sock")) && matches("unix:x.sock", Peer::Unix(b"/run/a/x.sock"))
    );
    assert!(matches("unix:@bus", Peer::Unix(b"@bus")));

    let plan = specs("refuse to=*.Example.com:443,db").plan;
    let bits = patterns(&plan).host_bits(b"api.example.com");
    assert_eq!((bits, patterns(&plan).host_bits(b"db.")), (1, 2));
    assert!(patterns(&plan).peer(plan.rules[0].peers, v4(9, 9, 9, 9, 443), bits));
    assert!(!patterns(&plan).peer(plan.rules[0].peers, v4(9, 9, 9, 9, 80), bits));
    assert!(patterns(&plan).host(plan.rules[0].peers, b"api.example.com"));
}

#[test]
fn roles_stand_for_their_peers() {
    let plan = yaml("roles: {db: ['10.0.0.0/8:5432', pool], pool: db.example.com}\nfaults: [{fault: refuse, to: [db, 'role:pool']}]").plan;
    let kinds: Vec<u8> = plan.matchers[..plan.rules[0].peers.count as usize].iter().map(|m| m.kind).collect();
    assert_eq!(kinds, [matcher::CIDR, matcher::HOST, matcher::HOST]);
    assert_eq!(plan.matchers[1].host_bit, plan.matchers[2].host_bit);
}

#[test]
fn rules_have_names_and_labels() {
    let plan = yaml(
        "chaos: network\nfaults:\n  - read=EIO\n  - {fault: exit, calls: read, name: error-2, component: db, message: gone away}\n  - write=EIO\n  - short\n",
    )
    .plan;
    let names: Vec<&str> = (0..plan.rules.len()).map(|index| plan.rule_name(index)).collect();
    assert_eq!(names[..4], ["error-1", "error-2", "error-3", "short-1"]);
    assert_eq!(names[4], "network/refused");
    assert_eq!(plan.text_of(plan.rules[1].component), "db");
    assert_eq!(plan.text_of(plan.rules[1].message), "gone away");
}

#[test]
fn presets_take_the_rate_of_the_table() {
    let rate = |text: &str, index: usize| yaml(text).plan.rules[index].rate;
    assert_eq!(rate("chaos: network", 0), rate_threshold(0.15));
    assert_eq!(rate("chaos: network\nrate: 10%", 0), rate_threshold(0.05));
    assert_eq!(rate("chaos: network\nintensity: extreme", 0), rate_threshold(0.35));
    // Faults that do not say how often they fire take it too.
    let text = "rate: 10%\nfaults: [read=EIO, read=EIO@3, read=EIO@50%]";
    assert_eq!([rate(text, 0), rate(text, 1), rate(text, 2)], [rate_threshold(0.1), ALWAYS, rate_threshold(0.5)]);
    assert!(yaml("rate: 10%\nfaults: [read=EIO@3]").warnings[0].contains("has no effect"));
    assert!(yaml(text).warnings.is_empty());
    let all = yaml("chaos: [network, disk, timeout, memory, process]");
    assert!(all.plan.rules.len() > 10 && all.warnings.is_empty(), "{:?}", all.warnings);
}

#[test]
fn the_head_holds_the_settings() {
    let plan = yaml("seed: 42\nenabled: false\nfor: 60s\narm: {after: 2s}\nmax_faults: 9").plan;
    let header = &plan.header;
    assert_eq!((header.seed, header.enabled, header.until_ns), (42, 0, 60_000_000_000));
    assert_eq!((header.arm, header.arm_ns, header.max_faults), (arm::AFTER, 2_000_000_000, 9));
    let plan = yaml("arm: exec").plan;
    assert_eq!((plan.header.arm, plan.header.seed, plan.header.until_ns), (arm::EXEC, 7, u64::MAX));
    assert_eq!(yaml("faults: []").plan.header.arm, arm::MAIN);
}

#[test]
fn process_globs_and_descriptors_are_selectors() {
    let plan = specs("read=EIO process=worker*,/usr/bin/* fd=3..9").plan;
    let rule = &plan.rules[0];
    let runs = |names: &[&[u8]]| patterns(&plan).process(rule.processes, names);
    assert!(runs(&[b"worker-1", b"/opt/worker-1"]) && runs(&[b"x", b"/usr/bin/x"]) && !runs(&[b"x", b"/bin/x"]));
    assert_eq!((rule.fd_first, rule.fd_last), (3, 9));
    assert!(rule.has(flag::FD) && rule.has(flag::PROCESS) && rule.has(flag::STD_FDS));
}

#[test]
fn every_fault_compiles_for_every_call_that_it_fits_and_no_other() {
    for (name, kind, _) in FaultKind::ALL {
        for call in CALLS {
            let extra: &[&str] = match kind {
                // All calls show the same time: it names none.
                FaultKind::Clock => continue,
                FaultKind::Exhaust => &[
                    " what=memory limit=1MB",
                    " what=disk limit=1MB",
                    " what=files limit=9",
                    " what=processes limit=9",
                    " what=threads limit=9",
                ],
                FaultKind::Return => match call.fails {
                    Failure::Null => &[" value=0"],
                    Failure::Code => &[" value=12"],
                    Failure::Errno | Failure::Eai | Failure::Never | Failure::Count => &[" value=-1"],
                },
                FaultKind::Throttle => &[" bandwidth=1KB/s"],
                _ => &[""],
            };
            let specs = extra.iter().map(|extra| parse_spec(&format!("{name} calls={}{extra}", call.name()), ""));
            let specs: Vec<_> = specs.collect();
            assert_eq!(specs.iter().any(Result::is_ok), call.allows(*kind), "{name} {}: {specs:?}", call.name());
        }
    }
}

#[test]
fn a_later_table_wins_and_adds() {
    let mut table = from_yaml("seed: 1\nrate: 10%\nroles: {db: ':1'}\nchaos: disk\nfaults: [read=EIO]", "a").unwrap();
    table.merge(
        from_yaml(
            "seed: 2\nintensity: stress\nroles: {db: ':2', x: ':3'}\nchaos: [disk, network]\nfaults: [write=EIO]",
            "b",
        )
        .unwrap(),
    );
    assert_eq!((table.seed, table.rate, table.faults.len(), table.chaos.len()), (Some(2), None, 2, 2));
    assert_eq!((table.roles["db"].0.len(), table.roles.len()), (2, 2));
}
