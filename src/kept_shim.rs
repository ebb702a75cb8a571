//! The shim as it is kept between runs: to write its two megabytes anew costs each run a millisecond and more.
//!
//! A session gets another name of the kept file, so it can be replaced at any time. Whoever can write there can do to us
//! what they like already; but a target may write to its shim by mistake, and a disk may lose what was not synced: what is
//! kept is used only where it is whole.

use crate::session::{shim_mode, state_dir};
use nix::fcntl::OFlag;
use std::fs::{self, File, OpenOptions};
use std::io::Read;
use std::os::unix::fs::{MetadataExt, OpenOptionsExt, PermissionsExt};
use std::path::Path;

const NAME: &str = concat!(".libchaos_shim-", env!("CARGO_PKG_VERSION"), ".so");

/// Puts the shim there as another name of the one that is kept; false where it must be written: there is none that is
/// whole, or not on that file system.
pub fn link(to: &Path, shim: &[u8]) -> bool {
    state_dir().is_ok_and(|state| {
        let kept = state.join(NAME);
        is_whole(&kept, shim) && fs::hard_link(&kept, to).is_ok()
    })
}

/// Keeps the shim of a session that has begun, in the place of whatever stands there. Where it cannot, the next run
/// writes its own as well.
pub fn keep(shim: &Path) {
    let keep = || -> std::io::Result<()> {
        let state = state_dir().map_err(|_| std::io::ErrorKind::NotFound)?;
        if shim.metadata()?.nlink() > 1 {
            return Ok(());
        }
        let name = tempfile::Builder::new().prefix(".shim-").make_in(&state, |name| fs::hard_link(shim, name))?;
        name.into_temp_path().persist(state.join(NAME))?;
        Ok(())
    };
    let _ = keep();
}

/// Whether it is a file of ours with just these bytes.
fn is_whole(kept: &Path, shim: &[u8]) -> bool {
    let flags = (OFlag::O_NOFOLLOW | OFlag::O_NONBLOCK).bits();
    let Ok(mut file) = OpenOptions::new().read(true).custom_flags(flags).open(kept) else { return false };
    let is_ours = file.metadata().is_ok_and(|meta| {
        meta.is_file()
            && meta.uid() == nix::unistd::geteuid().as_raw()
            && meta.permissions().mode() & 0o7777 == shim_mode()
            && meta.len() == shim.len() as u64
    });
    is_ours && has_bytes(&mut file, shim)
}

fn has_bytes(file: &mut File, bytes: &[u8]) -> bool {
    let mut buffer = [0; 1 << 16];
    bytes.chunks(buffer.len()).all(|wanted| {
        let found = &mut buffer[..wanted.len()];
        file.read_exact(found).is_ok() && found == wanted
    })
}
