//! `chaos-exec load`: keeps processors, memory or the disk busy until it is ended, for the scenarios of pressure. It ends
//! with the process that has started it, and leaves nothing behind: its file has no name.

use crate::error::{Context, Failure, Result};
use crate::exit_code::Exit;
use crate::options::size;
use clap::Args;
use nix::sys::prctl::set_pdeathsig;
use nix::sys::signal::Signal;
use nix::unistd::getppid;
use std::fs::File;
use std::io::{Seek, Write};
use std::time::Duration;

const MB: u64 = 1 << 20;
/// What is left of the memory that is free, however much is asked for: a machine that hangs proves nothing.
const SPARED: u64 = 256 * MB;
const PAGE: usize = 4096;

/// `chaos-exec load`
#[derive(Debug, Args)]
#[command(after_help = "Example:
  chaos-exec load --cpu 2 --memory 1GB --disk 64MB

It says `ready` when the load is there, and goes on until it is ended or its parent dies. The scenarios cpu-pressure,
memory-pressure and disk-pressure run it beside a program.")]
pub struct LoadArgs {
    /// Keep so many processors busy; 0: all of them
    #[arg(long, value_name = "N")]
    pub cpu: Option<usize>,

    /// Hold so much memory, or what is free but for 256MB if that is less
    #[arg(long, value_name = "SIZE")]
    pub memory: Option<String>,

    /// Write a file of this size, in the directory for temporary files, to the disk again and again
    #[arg(long, value_name = "SIZE")]
    pub disk: Option<String>,
}

/// Makes the load; comes back only when there is none to make.
///
/// # Errors
/// Options that are wrong, or a disk that cannot be written.
pub fn run(args: &LoadArgs, out: &mut dyn Write) -> Result<Exit> {
    let sized = |text: &Option<String>, option| {
        text.as_deref().map(|text| size(text, option, MB, 1 << 40, "1MB to 1TB")).transpose()
    };
    let (memory, disk) = (sized(&args.memory, "--memory")?, sized(&args.disk, "--disk")?);
    if memory.is_none() && disk.is_none() && args.cpu.is_none() {
        return Err(Failure::new("there is nothing to load").help("--cpu 2, --memory 1GB or --disk 64MB"));
    }
    let parent = getppid();
    set_pdeathsig(Signal::SIGKILL).cannot("follow the parent")?;
    if getppid() != parent {
        return Ok(Exit::Target(0));
    }
    let mut held = memory.map(|bytes| hold(bytes.min(free_memory()?.saturating_sub(SPARED)))).transpose()?;
    if let Some(bytes) = disk {
        let file = tempfile::tempfile().cannot("write a temporary file")?;
        std::thread::spawn(move || keep_writing(file, bytes));
    }
    let all = std::thread::available_parallelism().map_or(1, usize::from);
    for _ in 0..args.cpu.map_or(0, |count| if count == 0 { all } else { count }) {
        std::thread::spawn(|| {
            loop {
                std::hint::spin_loop();
            }
        });
    }
    writeln!(out, "ready").and_then(|()| out.flush()).cannot("write to stdout")?;
    loop {
        // What nobody touches would be the first to be swapped out.
        held.iter_mut().for_each(|held| touch(held));
        std::thread::sleep(Duration::from_millis(200));
    }
}

/// What the kernel says can be had without swapping.
fn free_memory() -> Result<u64> {
    let text = std::fs::read_to_string("/proc/meminfo").cannot("read /proc/meminfo")?;
    let line = text.lines().find_map(|line| line.strip_prefix("MemAvailable:"));
    let kb = line.and_then(|line| line.trim().trim_end_matches("kB").trim().parse::<u64>().ok());
    kb.map(|kb| kb * 1024).ok_or_else(|| Failure::new("/proc/meminfo does not say what memory is free"))
}

fn hold(bytes: u64) -> Result<Vec<u8>> {
    // If memory does run out it is this process that goes, not what is tested. Without the right to say so: as it is.
    let _ = std::fs::write("/proc/self/oom_score_adj", "1000");
    let mut held = Vec::new();
    let bytes = usize::try_from(bytes).unwrap_or(usize::MAX);
    held.try_reserve_exact(bytes).cannot("get the memory")?;
    // By blocks, which is quick in a debug build, too.
    let block = vec![1; usize::try_from(MB).unwrap_or(PAGE)];
    while held.len() < bytes {
        held.extend_from_slice(&block[..block.len().min(bytes - held.len())]);
    }
    Ok(held)
}

fn touch(held: &mut [u8]) {
    held.iter_mut().step_by(PAGE).for_each(|byte| *byte = byte.wrapping_add(1));
}

/// Until it cannot: a disk that is full is loaded enough.
fn keep_writing(mut file: File, bytes: u64) {
    let block = vec![0x5a; usize::try_from(MB).unwrap_or(PAGE)];
    let mut once = || -> std::io::Result<()> {
        file.rewind()?;
        for _ in 0..bytes / MB {
            file.write_all(&block)?;
        }
        file.sync_data()
    };
    while once().is_ok() {}
}
