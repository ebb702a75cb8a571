//! The shim as it is kept between runs: to write its two megabytes anew costs each run a millisecond and more.
//!
//! A session gets another name of the kept file, so it can be replaced at any time. Whoever can write there can do to us
//! what they like already; but a target may write to its shim by mistake, and a disk may lose what was not synced: what is
//! kept is used only where it is whole.

use crate::session::{dir_mode, shim_mode, state_dir};
use nix::fcntl::OFlag;
use std::fs::{self, DirBuilder, File, OpenOptions, Permissions};
use std::io::{Read, Write};
use std::os::unix::fs::{DirBuilderExt, MetadataExt, OpenOptionsExt, PermissionsExt};
use std::path::Path;
use tempfile::NamedTempFile;

const NAME: &str = concat!(".libchaos_shim-", env!("CARGO_PKG_VERSION"), ".so");

/// Puts the shim there under another name; false where it must be written: on another file system, or without a
/// directory for our state.
pub fn link(to: &Path, shim: &[u8]) -> bool {
    let Ok(state) = state_dir() else { return false };
    let _ = DirBuilder::new().recursive(true).mode(dir_mode()).create(&state);
    let device = |dir: &Path| dir.metadata().map(|meta| meta.dev()).ok();
    if device(&state).is_none() || device(&state) != to.parent().and_then(device) {
        return false;
    }
    let kept = state.join(NAME);
    let is_kept = is_whole(&kept, shim) || write(&state, &kept, shim).is_ok();
    is_kept && fs::hard_link(&kept, to).is_ok()
}

/// In the place of whatever stands there, and not where a link leads.
fn write(state: &Path, kept: &Path, shim: &[u8]) -> std::io::Result<()> {
    let mut file = NamedTempFile::new_in(state)?;
    file.write_all(shim)?;
    file.as_file().set_permissions(Permissions::from_mode(shim_mode()))?;
    file.persist(kept)?;
    Ok(())
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
