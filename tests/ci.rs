//! What is shipped for CI: `run_chaos_tests.sh`, the GitHub workflow and the GitLab jobs are read as their servers read
//! them, and every command in them is one that exists and takes its options.

#[expect(dead_code, reason = "each topic uses its part of the helpers")]
mod common;

use common::{CHAOS, Scene};
use serde_json::Value;
use std::fs;
use std::path::Path;
use std::process::{Command, Output};

const ROOT: &str = env!("CARGO_MANIFEST_DIR");
const SCRIPT: &str = concat!(env!("CARGO_MANIFEST_DIR"), "/scripts/run_chaos_tests.sh");

fn yaml(name: &str) -> Value {
    let text = fs::read_to_string(Path::new(ROOT).join("scripts/ci").join(name)).unwrap();
    serde_saphyr::from_str(&text).unwrap_or_else(|error| panic!("{name}: {error}"))
}

fn said(output: &Output) -> String {
    String::from_utf8_lossy(&output.stderr).into_owned()
}

fn script(args: &[&str], scene: &Scene) -> Output {
    let mut command = Command::new(SCRIPT);
    command.args(["--chaos-exec", CHAOS]).args(args);
    command.current_dir(scene.path("")).env("XDG_STATE_HOME", scene.path("state"));
    command.output().unwrap()
}

/// Runs a step as the server's shell would, but for what it starts: the script says its command, which then runs
/// with `echo` as its program. The rest must exist.
fn try_step(run: &str, variables: &[(&str, &str)]) {
    let scene = Scene::new();
    let first = run.split_whitespace().next().unwrap();
    match first {
        "scripts/run_chaos_tests.sh" => {
            let dry = run.replacen(first, &format!("{SCRIPT} --dry-run --chaos-exec {CHAOS}"), 1);
            // As GitHub: `bash -e`.
            let mut shell = Command::new("bash");
            shell.args(["-e", "-c", &dry]).env("COMMAND", "");
            let done = shell.envs(variables.iter().copied()).current_dir(scene.path("")).output().unwrap();
            assert!(done.status.success(), "{run}: {}", said(&done));
            let command = String::from_utf8(done.stdout).unwrap();
            let (options, program) = command.rsplit_once(" -- ").unwrap();
            assert!(program.contains("chaos_example.py"), "{command}");
            // Nothing fires in `echo`: a gate is inconclusive, and every other word of the command was understood.
            let runs = format!("{options} -- /bin/echo the sum of 20 squares is 2470");
            let done = Command::new("bash").args(["-c", &runs]).current_dir(scene.path("")).output().unwrap();
            assert_eq!(done.status.code(), Some(123), "{runs}: {}", said(&done));
            for report in ["chaos.html", "chaos.xml", "chaos.md"] {
                assert!(scene.path(report).exists(), "{runs}: no {report}");
            }
            assert!(scene.path("chaos-session").exists());
        }
        "scripts/setup" => {
            let known = fs::read_to_string(Path::new(ROOT).join(first)).unwrap();
            for program in run.split_whitespace().skip(1) {
                assert!(known.contains(&format!("{program}:")), "{run}: setup knows no {program}");
            }
        }
        "cargo" => assert_eq!(run, "cargo build --release"),
        "test" => assert!(run.contains("chaos.md"), "{run}"),
        other => panic!("{other} is no command that is tested here: {run}"),
    }
}

#[test]
fn the_github_workflow_is_one_and_its_commands_work() {
    let workflow = yaml("github-chaos.yml");
    let on = &workflow["on"];
    assert!(on["schedule"][0]["cron"].as_str().is_some_and(|cron| cron.split(' ').count() == 5), "{on}");
    for trigger in ["push", "pull_request", "workflow_dispatch"] {
        assert!(on.get(trigger).is_some(), "{trigger}");
    }
    let job = &workflow["jobs"]["chaos"];
    let steps = job["steps"].as_array().unwrap();
    let mut tiers = Vec::new();
    for step in steps {
        assert!(step["run"].is_string() != step["uses"].is_string(), "a step runs or uses: {step}");
        let Some(run) = step["run"].as_str() else { continue };
        assert!(!run.contains("${{"), "what is typed in must come in by a variable: {run}");
        let mut variables = vec![("GITHUB_RUN_NUMBER", "7")];
        for (name, value) in step["env"].as_object().into_iter().flatten() {
            let input = value.as_str().unwrap().trim_start_matches("${{ inputs.").trim_end_matches(" }}");
            let default = on["workflow_dispatch"]["inputs"][input]["default"].as_str();
            variables.push((name, default.unwrap_or_else(|| panic!("{input} has no default"))));
        }
        try_step(run, &variables);
        tiers.extend(step["if"].as_str().filter(|when| when.contains("event_name")));
    }
    for event in ["push", "pull_request", "schedule", "workflow_dispatch"] {
        assert_eq!(tiers.iter().filter(|when| when.contains(&format!("'{event}'"))).count(), 1, "{event}: {tiers:?}");
    }
    let upload = steps.last().unwrap();
    assert!(upload["uses"].as_str().unwrap().starts_with("actions/upload-artifact@") && upload["if"] == "always()");
    assert!(upload["with"]["path"].as_str().unwrap().contains("chaos.html"));
}

#[test]
fn the_gitlab_jobs_are_some_and_their_commands_work() {
    let file = yaml("gitlab-chaos.yml");
    let jobs: Vec<_> = file.as_object().unwrap().iter().filter(|(name, _)| !name.starts_with('.')).collect();
    assert_eq!(jobs.len(), 3);
    let base = &file[".chaos"];
    for line in base["before_script"].as_array().unwrap() {
        try_step(line.as_str().unwrap(), &[]);
    }
    assert_eq!(base["artifacts"]["reports"]["junit"], "chaos.xml");
    for (name, job) in jobs {
        assert_eq!(job["extends"], ".chaos", "{name}");
        assert!(job["rules"][0]["if"].as_str().unwrap().starts_with("$CI_PIPELINE_SOURCE =="), "{name}");
        for line in job["script"].as_array().unwrap() {
            try_step(line.as_str().unwrap(), &[("CI_PIPELINE_IID", "7")]);
        }
    }
}

#[test]
fn the_script_runs_a_program_and_reports() {
    let scene = Scene::new();
    let options = ["--chaos-types", "network,disk,timeout,memory,process", "--failure-rate=0.3", "--duration", "60"];
    let more = ["--seed", "42", "--output-report", "r.json", "--verbose", "--", "/bin/cat", "data.bin"];
    let done = script(&[&options[..], &more].concat(), &scene);
    let value: Value = serde_json::from_slice(&scene.read("r.json")).unwrap();
    assert_eq!(value["verdict"]["rate"], 0.3, "{}", said(&done));
    assert_eq!(value["details"][0]["seed"], 42);
    assert!(value["rules"].as_array().unwrap().len() > 10, "{value}");
    // The exit code is the program's.
    let done = script(&["--chaos-types", "network", "--", "/bin/sh", "-c", "exit 7"], &scene);
    assert_eq!(done.status.code(), Some(7), "{}", said(&done));
    assert!(scene.path("chaos-report.md").exists());
}

#[test]
fn without_a_program_it_runs_the_example() {
    let scene = Scene::new();
    let done = script(&["--chaos-types", "network", "--seed", "42", "--gate", "injections>=1,crashes=0"], &scene);
    let out = String::from_utf8_lossy(&done.stdout).into_owned();
    assert!(done.status.success() && out.contains("the sum of 20 squares is 2470"), "{out}{}", said(&done));
    let help = script(&["--help"], &scene);
    let help = String::from_utf8(help.stdout).unwrap();
    for option in ["--chaos-types", "--failure-rate", "--duration", "--seed", "--output-report", "--verbose"] {
        assert!(help.contains(option), "{option}");
    }
}

#[test]
fn with_several_runs_the_gate_says_how_many_may_fail() {
    let scene = Scene::new();
    // Two of four runs meet the fault, which only half of the seeds let happen.
    let program = ["--", "/bin/sh", "-c", "read line < data.bin || exit 3"];
    let go = |gate: &str, runs: &str| {
        let options = ["--chaos-types", "disk", "--failure-rate", "0.9", "--seed", "2", "--runs", runs, "--gate", gate];
        script(&[&options[..], &program].concat(), &scene)
    };
    for (gate, runs, code) in [
        ("injections>=1,completion<100%", "4", 0),
        ("injections>=1,completion=100%", "4", 122),
        ("mttr<1s,completion<100%", "4", 123),
        ("injections>=1,completion<100%", "0", 125),
    ] {
        let done = go(gate, runs);
        assert_eq!(done.status.code(), Some(code), "{gate}: {}", said(&done));
    }
    // Without a gate nobody has said that one may fail.
    let options = ["--chaos-types", "disk", "--failure-rate", "0.9", "--seed", "2", "--runs", "4"];
    let done = script(&[&options[..], &program].concat(), &scene);
    assert!(matches!(done.status.code(), Some(2 | 3)), "{}", said(&done));
}

#[test]
fn what_the_script_cannot_use_is_one_error() {
    let scene = Scene::new();
    for (args, code, message) in [
        (&["--chaos-types"][..], 125, "--chaos-types needs a value"),
        (&["--seed="], 125, "--seed: the value is empty"),
        (&["--chaos-types", "disc"], 125, "'disc' is no type of chaos"),
        (&["--chaos-types", ""], 125, "the value is empty"),
        (&["--failure-rate", "much"], 125, "'much' is no rate"),
        (&["--failure-rate", "40"], 125, "the rate `40` is not between 0 and 1"),
        (&["--duration", "0"], 125, "'0' is no duration"),
        (&["--duration", "1e9"], 125, "'1e9' is no duration"),
        (&["--duration", "-5"], 125, "'-5' is no duration"),
        (&["--sed", "4"], 125, "unknown option '--sed'"),
        (&["./program"], 125, "'./program' is no option"),
        (&["--chaos-exec", "/nowhere"], 125, "'/nowhere' is no program"),
        (&["--"], 125, "there is no command behind --"),
        (&["--seed", "x", "--", "touch", "started"], 125, "x"),
        (&["--output-report", "/proc/no/x.md", "--", "touch", "started"], 125, "cannot write /proc/no/x.md"),
        (&["--output-report", "x.docx", "--", "touch", "started"], 125, "names no form of report"),
        (&["--gate", "recovry>1", "--", "touch", "started"], 125, "unknown figure `recovry`"),
        (&["--", "no-such-program"], 127, "no-such-program"),
    ] {
        let done = script(args, &scene);
        let said = said(&done);
        assert_eq!(done.status.code(), Some(code), "{args:?}: {said}");
        let errors: Vec<&str> = said.lines().filter(|line| line.contains(": error: ")).collect();
        assert!(errors.len() == 1 && errors[0].contains(message), "{args:?}: {said}");
        assert!(!scene.path("started").exists(), "{args:?}");
    }
}

/// Runs commands of a file for shards, with what stands for this machine in them.
fn shell(scene: &Scene, run: &str, variables: &[(&str, &str)]) -> Output {
    let run = run.replace("target/release/chaos-exec", CHAOS).replace("/results", &scene.text("results"));
    let run = if run.starts_with("chaos-exec ") { run.replacen("chaos-exec", CHAOS, 1) } else { run };
    let mut command = Command::new("bash");
    command.args(["-e", "-c", &run]).current_dir(scene.path("")).env("XDG_STATE_HOME", scene.path("state"));
    command.envs(variables.iter().copied()).output().unwrap()
}

#[test]
fn shards_of_github_kubernetes_and_slurm_come_together() {
    let workflow = yaml("github-shards.yml");
    let job = yaml("kubernetes.yaml");
    let steps = |job: &str| workflow["jobs"][job]["steps"].as_array().unwrap().clone();
    let step = |job: &str, name: &str| {
        let steps = steps(job);
        let found = steps.iter().find(|step| step["name"] == name).unwrap_or_else(|| panic!("no step {name}"));
        found["run"].as_str().unwrap().replace("--runs 100", "--runs 8")
    };
    let pod = &job["spec"]["template"]["spec"]["containers"][0];
    assert_eq!(job["spec"]["completionMode"], "Indexed");
    assert_eq!(pod["env"][0]["value"].as_str().unwrap(), job["spec"]["completions"].to_string());
    let kubernetes = pod["args"][0].as_str().unwrap().replace("--runs 100", "--runs 8");
    let slurm = format!("{ROOT}/scripts/ci/slurm.sh shop.yaml slurm --runs 8 --seed 42");

    let scene = Scene::new();
    scene.write(
        "shop.yaml",
        "targets: [{command: 'head -c 9 data > copy || head -c 9 data > copy'}]\nfiles: {data: {text: xyz}}\n\
         table: {faults: [{fault: error, calls: read, path: data, process: head, errno: EIO, rate: 50%}]}\n",
    );
    fs::create_dir(scene.path("results")).unwrap();
    let base = [("EXPERIMENT", "shop.yaml"), ("GITHUB_RUN_NUMBER", "42"), ("CHAOS", CHAOS)];
    let shards = workflow["jobs"]["shard"]["strategy"]["matrix"]["shard"].as_array().unwrap();
    for shard in shards {
        let (number, index) = (shard.to_string(), (shard.as_u64().unwrap() - 1).to_string());
        let run = step("shard", "Runs").replace("${{ matrix.shard }}", &number);
        let done = shell(&scene, &run, &base);
        assert!(done.status.success(), "{run}: {}", said(&done));
        let pods = [("JOB_COMPLETION_INDEX", index.as_str()), ("JOB_COMPLETIONS", "4")];
        let done = shell(&scene, &kubernetes, &[&base[..], &pods].concat());
        assert!(matches!(done.status.code(), Some(0 | 122)), "{kubernetes}: {}", said(&done));
        let task =
            [("SLURM_ARRAY_TASK_ID", number.as_str()), ("SLURM_ARRAY_TASK_MIN", "1"), ("SLURM_ARRAY_TASK_COUNT", "4")];
        let done = shell(&scene, &slurm, &[&base[..], &task].concat());
        assert!(matches!(done.status.code(), Some(0 | 122)), "{slurm}: {}", said(&done));
    }
    let merge = step("merge", "Merge").replace("shards/shard-*", "shard-*");
    let merged = |run: &str, out: &str| {
        let done = shell(&scene, run, &base);
        assert!(matches!(done.status.code(), Some(0 | 122)), "{run}: {}", said(&done));
        let score: Value = serde_json::from_slice(&scene.read(&format!("{out}/experiment.json"))).unwrap();
        // The last words of the target come with the run.
        let odd = score["odd"].as_array().unwrap().iter().filter(|odd| odd["verdict"] == "failed");
        odd.for_each(|odd| assert!(odd["why"].as_str().unwrap().contains(": head: "), "{odd}"));
        ["passed", "failed", "inconclusive", "total_faults_fired"].map(|key| score[key].as_u64().unwrap())
    };
    let github = merged(&merge, "all");
    assert!(github[..3].iter().sum::<u64>() == 8 && github[1] > 0, "{github:?}");
    assert!(scene.path("chaos.html").exists() && scene.path("chaos").is_dir());
    assert_eq!(merged("chaos-exec merge /results/shard-* --out kubernetes", "kubernetes"), github);
    assert_eq!(merged("chaos-exec merge slurm/shard-* --out slurm-all", "slurm-all"), github);
}
