//! Tables from files and from the environment.

use chaos_table::Many;
use chaos_table::environment::{Environment, from_env};
use chaos_table::files::load_file;
use chaos_table::quantities::{Lasting, Rate};
use chaos_table::schema::Table;
use chaos_table::spec::parse_spec;
use chaos_table::words::{Intensity, PresetName};
use std::ffi::OsString;
use std::os::unix::ffi::OsStringExt;
use std::path::PathBuf;

/// A directory that goes away with the test.
struct Dir(PathBuf);

impl Dir {
    fn new(name: &str) -> Dir {
        let dir = std::env::temp_dir().join(format!("chaos-table-{name}-{}", std::process::id()));
        std::fs::create_dir_all(&dir).unwrap();
        Dir(dir)
    }
    fn file(&self, name: &str, bytes: impl AsRef<[u8]>) -> PathBuf {
        let path = self.0.join(name);
        std::fs::write(&path, bytes).unwrap();
        path
    }
}

impl Drop for Dir {
    fn drop(&mut self) {
        let _ = std::fs::remove_dir_all(&self.0);
    }
}

#[test]
fn all_formats_say_the_same() {
    let dir = Dir::new("formats");
    let yaml = "seed: 3\nfaults:\n  - {fault: error, calls: [read, pread], path: 'data/**', errno: {EIO: 3, EINTR: 1}, nth: 3..7}\n  - write=short@20%\n";
    let toml = "seed = 3\nfaults = [{ fault = \"error\", calls = [\"read\", \"pread\"], path = \"data/**\", errno = { EIO = 3, EINTR = 1 }, nth = \"3..7\" }, \"write=short@20%\"]\n";
    let expected = load_file(&dir.file("t.yaml", yaml)).unwrap();
    assert_eq!(expected.faults.len(), 2);
    let json = expected.to_json();
    for (name, text) in [
        ("t.yml", yaml),
        ("t.toml", toml),
        ("t.json", &json),
        ("plain", yaml),
        ("plain2", toml),
        ("plain3", &json),
        ("t.YAML", yaml),
    ] {
        assert_eq!(load_file(&dir.file(name, text)).unwrap(), expected, "{name}");
    }
    let sections = "seed = 3\n[[faults]]\nfault = \"error\"\ncalls = [\"read\", \"pread\"]\npath = \"data/**\"\nnth = \"3..7\"\nerrno = { EIO = 3, EINTR = 1 }\n[[faults]]\nfault = \"short\"\ncalls = \"write\"\nrate = 0.2\n";
    assert_eq!(load_file(&dir.file("sections", sections)).unwrap(), expected);
    assert_eq!(load_file(&dir.file("bom.yaml", format!("\u{feff}{yaml}"))).unwrap(), expected);
    assert_eq!(load_file(&dir.file("list.json", "[\"write=short@20%\"]")).unwrap().faults.len(), 1);
}

#[test]
fn a_file_that_is_no_table_says_why() {
    let dir = Dir::new("unfit");
    let said = |path: PathBuf| load_file(&path).unwrap_err().to_string();
    let huge = "#".repeat((1 << 20) + 1);
    for (path, part) in [
        (dir.0.join("missing.yaml"), "cannot be read: No such file"),
        (dir.0.clone(), "is a directory"),
        (dir.file("empty.yaml", ""), "is empty"),
        (dir.file("blank.yaml", " \n\n"), "is empty"),
        (dir.file("huge.yaml", huge), "larger than 1 MiB"),
        (dir.file("binary.yaml", b"\x7fELF\0\0"), "is binary"),
        (dir.file("latin.yaml", b"name: \xe9"), "is not UTF-8 (byte 7)"),
        (PathBuf::from("/dev/zero"), "larger than 1 MiB"),
    ] {
        let text = said(path.clone());
        assert!(text.contains(part) && text.starts_with(&path.display().to_string()), "{text}");
    }
}

#[test]
fn single_values_read_from_their_text_as_flags_give_them() {
    assert_eq!("30%".parse::<Rate>().unwrap(), Rate(0.3));
    assert_eq!("1.5s".parse::<Lasting>().unwrap().to_string(), "1500ms");
    let presets: Many<PresetName> = "network, disk".parse().unwrap();
    assert_eq!(presets.iter().map(ToString::to_string).collect::<Vec<_>>(), ["network", "disk"]);
    let said = "netwrk,disk".parse::<Many<PresetName>>().unwrap_err().to_string();
    assert_eq!(said, "unknown preset `netwrk`\n  help: did you mean `network`?");
    assert!("fierce".parse::<Intensity>().is_err());
}

fn env(pairs: &[(&str, &str)]) -> Result<Option<Environment>, String> {
    let all = pairs.iter().map(|(name, value)| (OsString::from(name), OsString::from(value)));
    from_env(all).map_err(|error| error.to_string())
}

fn table(pairs: &[(&str, &str)]) -> Table {
    env(pairs).unwrap().unwrap().table
}

#[test]
fn nothing_of_ours_is_nothing() {
    assert_eq!(env(&[]).unwrap(), None);
    assert_eq!(env(&[("PATH", "/bin"), ("_CHAOS_SESSION", "/x"), ("chaos_x", "1"), ("XCHAOS_Y", "1")]).unwrap(), None);
    assert_eq!(env(&[("CHAOS_LOG", "/tmp/log")]).unwrap(), None);
    let with_log = env(&[("CHAOS_LOG", "/tmp/log"), ("CHAOS_TABLE", "read=EIO")]).unwrap().unwrap();
    assert_eq!(with_log.log, Some(PathBuf::from("/tmp/log")));
}

#[test]
fn the_table_is_specs_json_or_a_file() {
    let dir = Dir::new("env");
    let expected = [parse_spec("read=EIO@10%", "").unwrap()];
    let specs = dir.file("table.txt", "# reads\nread=EIO@10%\n");
    let json = dir.file("table.json", "[\"read=EIO@10%\"]");
    for value in [
        "read=EIO@10%".to_owned(),
        " [\"read=EIO@10%\"]".to_owned(),
        "{\"faults\": [{\"fault\": \"error\", \"calls\": \"read\", \"errno\": \"EIO\", \"rate\": 0.1}]}".to_owned(),
        specs.display().to_string(),
        format!("@{}", json.display()),
    ] {
        assert_eq!(table(&[("CHAOS_TABLE", &value)]).faults, expected, "{value}");
    }
}

#[test]
fn settings_and_presets_come_from_their_variables() {
    let found = table(&[
        ("CHAOS_TYPES", "network, disk"),
        ("CHAOS_RATE", "25%"),
        ("CHAOS_SEED", "9"),
        ("CHAOS_DURATION", "60"),
        ("CHAOS_ENABLED", "FALSE"),
    ]);
    let expected =
        "{\"chaos\": [\"network\", \"disk\"], \"rate\": 0.25, \"seed\": 9, \"for\": \"60s\", \"enabled\": false}";
    assert_eq!(found, Table::from_json(expected, "").unwrap());
    assert_eq!(
        table(&[("CHAOS_RANDOM_SEED", "9"), ("CHAOS_DURATION", "500ms")]),
        Table::from_json("{\"seed\": 9, \"for\": \"500ms\"}", "").unwrap()
    );
}

#[test]
fn each_probability_is_a_rule() {
    for (pairs, name, spec) in [
        (
            &[("CHAOS_CRASH_PROBABILITY", "0.1")][..],
            "env/crash",
            "signal calls=read,write,open,connect,accept,send,recv,malloc signal=KILL nth=1 rate=10%",
        ),
        (&[("CHAOS_DELAY_MS", "250")], "env/delay", "latency calls=network,disk delay=250ms rate=20%"),
        (&[("CHAOS_DELAY_PROBABILITY", "50%")], "env/delay", "latency calls=network,disk delay=500ms rate=50%"),
        (
            &[("CHAOS_TIMEOUT_SECONDS", "5"), ("CHAOS_TIMEOUT_PROBABILITY", "0.3")],
            "env/timeout",
            "hang calls=network for=5s rate=30%",
        ),
        (&[("CHAOS_TIMEOUT_PROBABILITY", "0.3")], "env/timeout", "hang calls=network for=30s rate=30%"),
        (&[("CHAOS_CORRUPTION_PROBABILITY", "0.1")], "env/corruption", "corrupt rate=10%"),
    ] {
        let expected = parse_spec(&format!("{spec} name={name}"), "").unwrap();
        assert_eq!(table(pairs).faults, [expected], "{pairs:?}");
    }
}

#[test]
fn wrong_variables_are_errors() {
    let dir = Dir::new("badenv");
    let yaml = dir.file("t.yaml", "faults: []").display().to_string();
    let missing = dir.0.join("none").display().to_string();
    for (name, value, parts) in [
        ("CHAOS_TABEL", "x", &["CHAOS_TABEL: unknown environment variable", "did you mean `CHAOS_TABLE`?"][..]),
        ("CHAOS_MONKEY", "x", &["unknown environment variable", "one of CHAOS_TABLE"]),
        ("CHAOS_TABLE", "", &["set but empty"]),
        ("CHAOS_TABLE", "reed=EIO", &["CHAOS_TABLE:1: unknown call `reed`"]),
        ("CHAOS_TABLE", "{\"sead\": 1}", &["CHAOS_TABLE:1:7: unknown key `sead`"]),
        ("CHAOS_TABLE", "{", &["CHAOS_TABLE:1:1: EOF"]),
        ("CHAOS_TABLE", &yaml, &["YAML and TOML are read by the launcher only", "chaos-exec check --json"]),
        ("CHAOS_TABLE", &missing, &["cannot be read"]),
        ("CHAOS_TABLE", "./no-such-file", &["./no-such-file: the table cannot be read"]),
        ("CHAOS_TABLE", "/", &["is a directory"]),
        ("CHAOS_ENABLED", "maybe", &["CHAOS_ENABLED: `maybe` is neither true nor false"]),
        ("CHAOS_SEED", "x", &["CHAOS_SEED: `x` is no number"]),
        ("CHAOS_RATE", "30", &["CHAOS_RATE: the rate `30`", "30%"]),
        ("CHAOS_TYPES", "network,dsk", &["CHAOS_TYPES: unknown preset `dsk`", "`disk`"]),
        ("CHAOS_TYPES", "tiem", &["unknown preset `tiem`", "`time`"]),
        ("CHAOS_DURATION", "0", &["CHAOS_DURATION", "zero"]),
        ("CHAOS_DURATION", "10 parsec", &["unknown unit `parsec`"]),
        ("CHAOS_DELAY_MS", "fast", &["CHAOS_DELAY_MS: `fast` is no duration"]),
        ("CHAOS_CRASH_PROBABILITY", "2", &["CHAOS_CRASH_PROBABILITY: the rate `2`"]),
    ] {
        let said = env(&[(name, value)]).unwrap_err();
        for part in parts {
            assert!(said.contains(part), "{name}={value}\nshould say {part:?} but says:\n{said}");
        }
    }
    assert!(env(&[("CHAOS_SEED", "1"), ("CHAOS_RANDOM_SEED", "2")]).unwrap_err().contains("differ"));
    let broken = [(OsString::from("CHAOS_TABLE"), OsString::from_vec(vec![0xff]))];
    assert!(from_env(broken.into_iter()).unwrap_err().to_string().contains("not UTF-8"));
}
