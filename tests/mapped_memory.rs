//! Memory that is mapped: how it fails, and how it runs out.

#[expect(dead_code, reason = "each topic uses its part of the helpers")]
mod common;

use common::{Scene, guest, program, python};

#[test]
fn mapped_memory_runs_out_as_under_the_kernel_s_own_limit() {
    let scene = Scene::new();
    for way in ["mmap", "protect", "brk", "remap", "shared"] {
        let done = scene.under(&["exhaust what=memory limit=16MB"]).go(&[&guest("mapped"), way]).ended(0);
        let words: Vec<&str> = done.out.split_whitespace().collect();
        let (first, second): (u32, u32) = (words[0].parse().unwrap(), words[2].parse().unwrap());
        // The same limit in the kernel, which counts a few pages that the program has already.
        let line = format!("ulimit -d 16384; exec {} {way}", guest("mapped"));
        let kernel = scene.bare().go(&[&program("bash", "bash"), "-c", &line]).ended(0);
        let known: Vec<&str> = kernel.out.split_whitespace().collect();
        let (kernel_first, kernel_second): (u32, u32) = (known[0].parse().unwrap(), known[2].parse().unwrap());
        assert_eq!(words[1], known[1], "{way}: {}\n{}", done.story(), kernel.story());
        assert!(first.abs_diff(kernel_first) <= 1, "{way}: {}\n{}", done.story(), kernel.story());
        assert!(second.abs_diff(kernel_second) <= 1, "{way}: {}\n{}", done.story(), kernel.story());
    }
}

#[test]
fn a_mapping_that_fails_is_told_as_the_kernel_tells_it() {
    let scene = Scene::new();
    let script = "
import mmap
for _ in range(3):
    try: print(len(mmap.mmap(-1, 8192)))
    except OSError as error: print(error.errno)
";
    scene.write("maps.py", script);
    let done = scene
        .under(&["error calls=mmap errno=ENOMEM size=8192 nth=2"])
        .go(&[&python(), "maps.py"])
        .said("8192\n12\n8192");
    let injections = done.injections();
    assert_eq!(
        (&injections[0]["requested"], &injections[0]["result"]),
        (&8192.into(), &(-1).into()),
        "{}",
        done.story()
    );
}

#[test]
fn the_loader_and_libc_get_their_memory() {
    let scene = Scene::new();
    // dlopen maps, threads get stacks, malloc grows: none of that is the program's own.
    let script = "
import ctypes, threading
ctypes.CDLL('libz.so.1')
threads = [threading.Thread(target=lambda: bytearray(1 << 22)) for _ in range(4)]
for thread in threads: thread.start()
for thread in threads: thread.join()
print('well')
";
    let faults = ["error calls=mprotect,brk,mremap,munmap,madvise,mlock errno=ENOMEM"];
    scene.under(&faults).go(&[&python(), "-c", script]).said("well");
}

#[test]
fn a_copied_string_fails_and_names_its_size() {
    let scene = Scene::new();
    let done = scene.under(&["strdup=ENOMEM"]).go(&[&guest("calls"), "strdup", "strndup"]);
    assert_eq!(done.out, "strdup -1 ENOMEM\nstrndup -1 ENOMEM\n", "{}", done.story());
    let sizes: Vec<_> = done.injections().iter().map(|line| line["requested"].as_u64()).collect();
    assert_eq!(sizes, [Some(5), Some(3)]);
}

#[test]
fn runtimes_with_allocators_of_their_own_live_within_a_limit_and_end_beyond_it() {
    let scene = Scene::new();
    let node = program("node", "nodejs");
    let fill =
        "const kept = []; for (let i = 0; i < 4000; i++) kept.push(Buffer.alloc(1 << 20, i)); console.log('done')";
    scene.write("idle.js", "console.log('well')");
    scene.write("fill.js", fill);
    scene.under(&["exhaust what=memory limit=1GB"]).go(&[&node, "idle.js"]).said("well");
    let done = scene.under(&["exhaust what=memory limit=300MB"]).go(&[&node, "fill.js"]);
    assert!(done.code != 0 && !done.out.contains("done"), "{}", done.story());
    assert!(!done.injections().is_empty(), "{}", done.story());
}
