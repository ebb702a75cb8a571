//! The page in a real browser, headless: it fetches nothing, runs nothing of the target's, and every word of it can be
//! read - in light, in dark and on paper.

#[expect(dead_code, reason = "each topic uses its part of the helpers")]
mod common;

use common::handmade::Handmade;
use common::{CHAOS, program};
use serde_json::{Value, json};
use std::fs::{self, File};
use std::io::{BufReader, Write};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use tempfile::TempDir;

/// A browser that is driven through two pipes, as its own test tools do.
struct Browser {
    child: Child,
    dir: TempDir,
    to: File,
    from: BufReader<File>,
    last: u64,
    session: Option<String>,
    /// What it was about to fetch, by its events.
    fetched: Vec<String>,
}

impl Browser {
    fn open(page: &Path) -> Browser {
        let dir = tempfile::Builder::new().prefix("chaos-browser-").tempdir().unwrap();
        let chromium = program("chromium", "chromium");
        let pipes = ["to", "from"].map(|name| dir.path().join(name));
        assert!(Command::new("mkfifo").args(&pipes).status().unwrap().success());
        // It reads what it is to do on descriptor 3 and answers on 4.
        let script = "exec \"$0\" --headless --no-sandbox --disable-gpu --disable-dev-shm-usage --no-first-run \
             --no-proxy-server --host-resolver-rules='MAP * ~NOTFOUND' --disable-background-networking \
             --user-data-dir=\"$1\" --remote-debugging-pipe 3<\"$2\" 4>\"$3\"";
        let child = Command::new("sh")
            .args(["-c", script, &chromium])
            .arg(dir.path().join("profile"))
            .args(&pipes)
            .env("HOME", dir.path())
            .stdout(Stdio::null())
            .stderr(File::create(dir.path().join("stderr")).unwrap())
            .spawn()
            .unwrap();
        let to = File::options().write(true).open(&pipes[0]).unwrap();
        let from = BufReader::new(File::open(&pipes[1]).unwrap());
        let mut browser = Browser { child, dir, to, from, last: 0, session: None, fetched: Vec::new() };
        let made = browser.ask("Target.createTarget", &json!({"url": "about:blank"}));
        let target = json!({"targetId": made["targetId"], "flatten": true});
        let attached = browser.ask("Target.attachToTarget", &target);
        browser.session = Some(attached["sessionId"].as_str().unwrap().to_owned());
        browser.ask("Page.enable", &json!({}));
        browser.ask("Network.enable", &json!({}));
        let size = json!({"width": 1000, "height": 900, "deviceScaleFactor": 1, "mobile": false});
        browser.ask("Emulation.setDeviceMetricsOverride", &size);
        browser.ask("Page.navigate", &json!({"url": format!("file://{}", page.display())}));
        while browser.run("document.readyState") != "complete" {}
        browser
    }

    fn ask(&mut self, method: &str, parameters: &Value) -> Value {
        self.last += 1;
        let mut order = json!({"id": self.last, "method": method, "params": parameters});
        if let Some(session) = &self.session {
            order["sessionId"] = json!(session);
        }
        self.to.write_all(format!("{order}\0").as_bytes()).unwrap();
        loop {
            let mut answer = Vec::new();
            std::io::BufRead::read_until(&mut self.from, 0, &mut answer).unwrap();
            let said = || fs::read_to_string(self.dir.path().join("stderr")).unwrap_or_default();
            assert!(answer.pop() == Some(0), "the browser has ended: {}", said());
            let answer: Value = serde_json::from_slice(&answer).unwrap();
            if answer["method"] == "Network.requestWillBeSent" {
                self.fetched.push(answer["params"]["request"]["url"].as_str().unwrap_or_default().to_owned());
            }
            if answer["id"] == self.last {
                assert!(answer["error"].is_null(), "{method}: {answer}");
                return answer["result"].clone();
            }
        }
    }

    /// What a script gives; it is the test's, and not bound by the page's own policy.
    fn run(&mut self, script: &str) -> Value {
        let done = self.ask("Runtime.evaluate", &json!({"expression": script, "returnByValue": true}));
        assert!(done["exceptionDetails"].is_null(), "{done}");
        done["result"]["value"].clone()
    }

    fn show(&mut self, media: &str, scheme: &str) {
        let features = json!([{"name": "prefers-color-scheme", "value": scheme}]);
        self.ask("Emulation.setEmulatedMedia", &json!({"media": media, "features": features}));
    }

    /// Keeps a picture for who wants to look at it, in the build directory.
    fn picture(&mut self, name: &str) {
        let height = self.run("document.documentElement.scrollHeight").as_f64().unwrap();
        let clip = json!({"x": 0, "y": 0, "width": 1000, "height": height, "scale": 1});
        let shot = json!({"format": "png", "captureBeyondViewport": true, "clip": clip});
        let data = self.ask("Page.captureScreenshot", &shot)["data"].as_str().unwrap().to_owned();
        keep(&format!("page-{name}.png"), &data);
    }
}

impl Drop for Browser {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

/// Writes what came in base64.
fn keep(name: &str, data: &str) -> PathBuf {
    let path = Path::new(env!("CARGO_TARGET_TMPDIR")).join(name);
    let mut decoder = Command::new("base64");
    decoder.arg("-d").stdin(Stdio::piped()).stdout(File::create(&path).unwrap());
    let mut decoder = decoder.spawn().unwrap();
    decoder.stdin.take().unwrap().write_all(data.as_bytes()).unwrap();
    assert!(decoder.wait().unwrap().success());
    path
}

/// Every text on the page whose contrast with what lies behind it is less than WCAG asks for (AA: 4.5, 3 for large), and
/// what lies beyond the right edge.
const ILLEGIBLE: &str = "(() => {
    const parse = colour => (colour.match(/[\\d.]+/g) || []).map(Number);
    const light = ([r, g, b]) => {
        const [x, y, z] = [r, g, b].map(v => (v /= 255) <= 0.04045 ? v / 12.92 : ((v + 0.055) / 1.055) ** 2.4);
        return 0.2126 * x + 0.7152 * y + 0.0722 * z;
    };
    const behind = element => {
        for (let at = element; at; at = at.parentElement) {
            const colour = parse(getComputedStyle(at).backgroundColor);
            if (colour.length == 3 || colour[3] == 1) return colour;
        }
        return [255, 255, 255];
    };
    const bad = [];
    for (const tile of document.querySelectorAll('.tile'))
        if (tile.scrollWidth > tile.clientWidth) bad.push(`${tile.innerText} is too wide`);
    let seen = 0;
    const walk = document.createTreeWalker(document.body, NodeFilter.SHOW_TEXT);
    for (let node; node = walk.nextNode();) {
        const element = node.parentElement;
        const style = getComputedStyle(element);
        if (!node.data.trim() || element.localName == 'title' || style.display == 'none') continue;
        seen++;
        const inSvg = element instanceof SVGElement;
        const [one, two] = [light(parse(inSvg ? style.fill : style.color)), light(behind(element))];
        const ratio = (Math.max(one, two) + 0.05) / (Math.min(one, two) + 0.05);
        const large = parseFloat(style.fontSize) >= 24 || (parseFloat(style.fontSize) >= 18.6 && style.fontWeight >= 700);
        if (ratio < (large ? 3 : 4.5)) bad.push(`${ratio.toFixed(2)}: ${node.data.trim().slice(0, 60)}`);
    }
    if (document.documentElement.scrollWidth > innerWidth) bad.push(`it is ${document.documentElement.scrollWidth} wide`);
    if (seen < 50) bad.push(`only ${seen} texts`);
    return bad;
})()";

const NASTY: &str = "</title></style><script>document.title='gone'</script><img src=//10.0.0.1/x onerror=document.title='gone'>\"'`\u{202e}";

/// A run with everything that a page shows, and hostile texts in all of it.
fn page(dir: &Path) -> PathBuf {
    let rules = [("refused", "error"), ("slow", "latency"), ("wal", "signal"), ("bits", "corrupt"), (NASTY, "dns")];
    let mut made = Handmade::new("page", &rules);
    made.meta["command"] = json!(["./agent", NASTY]);
    made.process(100, 100, "0", "agent");
    made.process(101, 101, "0.1", NASTY);
    for number in 0..40u64 {
        let peer = format!("10.0.0.{number}:80");
        let at = made.fails(0, "connect", libc::ECONNREFUSED, peer.as_bytes(), 500 + 100 * number, 100);
        if number % 5 != 0 {
            made.recovers(at, "connect", peer.as_bytes(), 500 + 100 * number + 3 * (number + 1), 100);
        }
    }
    made.fails(0, "open", libc::EIO, NASTY.as_bytes(), 4800, 101);
    made.hits(2, 10, "write", libc::SIGKILL, b"/data/db.wal", 5000, 101);
    made.hits(3, 5, "read", 0, b"/data/cfg.json", 6000, 100);
    made.facts["root"] = json!({"exit": 1});
    made.facts["deaths"] = json!([
        {"at_ns": 5_900_000_000u64, "pid": 101, "process": NASTY, "signal": 11, "oom": false, "ours": false},
    ]);
    made.facts["checks"] = json!([
        {"check": "file path=out.json is=json", "passed": true, "why": ""},
        {"check": NASTY, "passed": false, "why": NASTY},
    ]);
    made.facts["files"] = json!({"cut": false, "written": [
        {"path": NASTY, "size": 7, "modified": "2026-01-01T00:00:01Z", "broken": NASTY},
        {"path": "a.db", "size": 8192, "modified": "2026-01-01T00:00:01Z", "digest": "integrity ok; t 2 rows"},
    ]});
    made.facts["latencies"] = json!({"connect": {"buckets": {"130": 7}, "longest_ns": 50_000, "sum_ns": 300_000}});
    made.facts["log_limit"] = json!({"bytes": 1_048_576, "at_ns": 7_000_000_000u64});
    made.facts["repeat"] = json!(format!("chaos-exec run --seed 7 -- ./agent '{NASTY}'"));
    let session = made.write(&dir.join("page"));
    fs::create_dir(session.join("evidence")).unwrap();
    fs::write(session.join("evidence/summary.txt"), "x").unwrap();
    let page = dir.join("report.html");
    let mut report = Command::new(CHAOS);
    report.arg("report").arg(&session).arg("-o").arg(&page).args(["--gate", "crashes=0"]);
    let done = report.output().unwrap();
    assert_eq!(done.status.code(), Some(122), "{}", String::from_utf8_lossy(&done.stderr));
    page
}

#[test]
fn the_page_is_safe_and_legible_in_a_browser() {
    let dir = TempDir::new().unwrap();
    let page = page(dir.path());
    let mut browser = Browser::open(&page);
    // Nothing of the target's has become part of the page, and it asks for nothing but itself.
    let title = browser.run("document.title");
    assert!(title.as_str().is_some_and(|title| title.starts_with("Chaos report: ./agent </title>")), "{title}");
    assert_eq!(browser.run("document.querySelectorAll('script, img, iframe, link, object, form, a').length"), 0);
    assert_eq!(browser.run("document.querySelectorAll('body style, [onerror], [onload]').length"), 0);
    let text = browser.run("document.body.innerText");
    for part in [
        "document.title='gone'",
        "gate failed: crashes 1",
        "nothing was injected from then on",
        "integrity ok",
        "Call latency",
    ] {
        assert!(text.as_str().unwrap().contains(part), "{part} in {text}");
    }
    for (drawing, least) in [("svg.timeline .fault", 40), ("svg.timeline .crash", 1), ("svg.histogram .bar", 2)] {
        let count = browser.run(&format!("document.querySelectorAll('{drawing}').length")).as_i64().unwrap();
        assert!(count >= least, "{drawing}: {count}");
    }
    for (media, scheme, name) in [("screen", "light", "light"), ("screen", "dark", "dark"), ("print", "dark", "print")]
    {
        browser.show(media, scheme);
        assert_eq!(browser.run(ILLEGIBLE), json!([]), "{name}");
        browser.picture(name);
    }
    // The longest that may stand in a tile.
    browser.run("document.querySelectorAll('.tile .value').forEach(value => value.innerText = 'not measured')");
    assert_eq!(browser.run(ILLEGIBLE), json!([]));
    let paper = browser.ask("Page.printToPDF", &json!({"printBackground": true}));
    let pdf = fs::read(keep("page.pdf", paper["data"].as_str().unwrap())).unwrap();
    assert!(pdf.starts_with(b"%PDF") && pdf.len() > 10_000, "{}", pdf.len());
    assert_eq!(browser.fetched, [format!("file://{}", page.display())], "the page fetches nothing");
}
