//! The examples of `chaos-exec help guide` do what it says of them.

#[expect(dead_code, reason = "each topic uses its part of the helpers")]
mod common;

use common::{CHAOS, Scene, program};

/// The fenced blocks of the guide: the language, and the text.
fn blocks(text: &str) -> Vec<(String, String)> {
    let mut found = Vec::new();
    let mut lines = text.lines();
    while let Some(line) = lines.next() {
        let Some(language) = line.strip_prefix("```") else { continue };
        let block: Vec<&str> = lines.by_ref().take_while(|line| !line.starts_with("```")).collect();
        found.push((language.to_owned(), block.join("\n") + "\n"));
    }
    found
}

#[test]
fn its_examples_do_what_it_says() {
    let scene = Scene::new();
    let guide = scene.chaos().go(&["help", "guide"]).ended(0).out;
    assert!(guide.starts_with("# A guide to chaos-exec\n"), "{guide}");
    assert_eq!(scene.chaos().go(&["guide"]).ended(0).out.trim_end(), guide.trim_end());
    std::fs::create_dir(scene.path("bin")).unwrap();
    for (name, path) in [("chaos-exec", CHAOS.to_owned()), ("python3", program("python3", "python3"))] {
        std::os::unix::fs::symlink(path, scene.path("bin").join(name)).unwrap();
    }
    let path = format!("{}:{}", scene.text("bin"), std::env::var("PATH").unwrap_or_default());
    let (mut programs, mut commands) = (0, 0);
    for (language, text) in blocks(&guide) {
        if language == "python" {
            let name = text.strip_prefix("# ").and_then(|text| text.lines().next()).unwrap();
            scene.write(name, &text);
            programs += 1;
            continue;
        }
        assert_eq!(language, "sh");
        for line in text.lines() {
            let code = line
                .split_once("# exits ")
                .map_or(0, |(_, code)| code.split(',').next().unwrap().trim().parse().unwrap());
            let done = scene.bare().env("PATH", &path).go(&["/bin/sh", "-c", line]);
            assert_eq!(done.code, code, "{line}: {}", done.story());
            commands += 1;
        }
    }
    assert!(programs >= 6 && commands >= 7, "{programs} programs, {commands} commands");
}

#[test]
fn its_lines_fit_and_its_commands_are_known() {
    let guide = Scene::new().chaos().go(&["guide"]).ended(0).out;
    let lines = guide.lines().count();
    assert!((150..=260).contains(&lines), "{lines} lines");
    let known = ["run", "doctor", "scenario", "report", "help"];
    for rest in guide.split("chaos-exec ").skip(1) {
        let word: String = rest.chars().take_while(char::is_ascii_alphabetic).collect();
        let is_title = rest.starts_with('\n') || word.is_empty();
        assert!(is_title || known.contains(&&*word), "chaos-exec {word}");
    }
}
