//! The snapshot file, and which nginx owns it.
//!
//! A file belongs to the metrics zone that it was made from. If another nginx takes it over
//! while the first still runs (a binary upgrade), the first does not write it any more.
//! When the first ends, it writes what it has counted since then to a file of its own, the
//! leftover, and the other adds it. If the other ends before, the first takes the file
//! back.

use nginx_safe::{FolderLock, alive};
use std::fs::{self, File, OpenOptions};
use std::io::{self, Read, Write};
use std::os::unix::fs::{OpenOptionsExt, PermissionsExt};
use std::path::{Path, PathBuf};

use openai_core::metrics::{Snapshot, SnapshotOwner};

/// Maximum size of a snapshot in bytes; the largest zone needs less.
const MAX_SIZE: u64 = 1 << 30;

/// What was found when the file was taken over.
#[derive(Default)]
pub struct FoundFile {
    /// Instance of the zone that wrote the file, and its metrics, to begin with.
    pub saved: Option<(u64, Snapshot)>,
    /// Instance and process id of the zone whose leftover must be added later; 0 for none.
    pub parent: (u64, u32),
    /// Why the file was not a snapshot, and where it is now.
    pub rejected: Option<(String, PathBuf)>,
}

pub struct SnapshotFile {
    path: PathBuf,
}

impl SnapshotFile {
    pub fn new(path: &str) -> Self {
        Self { path: path.into() }
    }

    fn lock(&self) -> io::Result<FolderLock> {
        let folder = self.path.parent().unwrap_or(Path::new("/"));
        FolderLock::take(folder)
    }

    /// The path of the file with a suffix.
    fn beside(&self, suffix: &str) -> PathBuf {
        let mut path = self.path.clone().into_os_string();
        path.push(".");
        path.push(suffix);
        path.into()
    }

    /// The file for a zone whose snapshot was taken over: a copy of that snapshot, later
    /// the leftover.
    fn leftover_of(&self, instance: u64) -> PathBuf {
        self.beside(&format!("{instance:016x}"))
    }

    /// Takes the file over for a zone that does not own it yet; in the master. `is_shared`:
    /// machines share their stats, and identify zones by their instances.
    pub fn claim(&self, owner: &SnapshotOwner, is_shared: bool) -> io::Result<FoundFile> {
        let _lock = self.lock()?;
        let mut found = FoundFile::default();
        match read(&self.path)?.map(|bytes| Snapshot::parse(&bytes)) {
            None => {}
            // This zone has written the file before, and goes on.
            Some(Ok((known, _))) if known.instance == owner.instance => {
                found.parent = (known.parent, known.parent_pid);
                return Ok(found);
            }
            Some(Ok((known, saved))) => {
                found.parent = (known.parent, known.parent_pid);
                if runs(&known, owner) {
                    let _ = fs::remove_file(self.leftover_of(known.instance));
                    fs::hard_link(&self.path, self.leftover_of(known.instance))?;
                    found.parent = (known.instance, known.pid);
                }
                found.saved = Some((known.instance, saved));
            }
            Some(Err(e)) => {
                let aside = self.beside("rejected");
                fs::rename(&self.path, &aside)?;
                found.rejected = Some((e.to_string(), aside));
            }
        }
        let (parent, parent_pid) = found.parent;
        let owner = SnapshotOwner {
            parent,
            parent_pid,
            ..*owner
        };
        let saved = found.saved.as_ref().map(|(_, saved)| saved.clone());
        let mut saved = saved.unwrap_or_default();
        if is_shared {
            saved = saved.of_another();
        }
        self.write(&self.path, &saved.to_bytes(&owner))?;
        Ok(found)
    }

    /// Writes the metrics, unless another running nginx owns the file. `ends`: they are the
    /// last ones. If another nginx had taken the file over and has ended, returns what it had
    /// counted.
    pub fn put(
        &self,
        saved: Snapshot,
        owner: &SnapshotOwner,
        ends: bool,
    ) -> io::Result<Option<Snapshot>> {
        let _lock = self.lock()?;
        let known = read(&self.path)?.unwrap_or_default();
        let mut returned = None;
        match SnapshotOwner::parse(&known) {
            Ok(theirs) if theirs.instance == owner.instance => {
                if theirs.turn > owner.turn {
                    // A newer state was written while this worker was exiting.
                    return Ok(None);
                }
            }
            Ok(theirs) if runs(&theirs, owner) => {
                if ends {
                    self.leave(saved, owner)?;
                }
                return Ok(None);
            }
            Ok(_) => returned = self.since_taken_over(owner, &known),
            Err(_) => {}
        }
        self.write(&self.path, &saved.to_bytes(owner))?;
        if returned.is_some() {
            let _ = fs::remove_file(self.leftover_of(owner.instance));
        }
        Ok(returned)
    }

    /// What another nginx has counted since it took the file over.
    fn since_taken_over(&self, owner: &SnapshotOwner, theirs: &[u8]) -> Option<Snapshot> {
        let base = read(&self.leftover_of(owner.instance)).ok()??;
        let (_, base) = Snapshot::parse(&base).ok()?;
        Some(Snapshot::parse(theirs).ok()?.1.since(&base))
    }

    /// Writes the leftover: what was counted after another nginx took the file over.
    fn leave(&self, saved: Snapshot, owner: &SnapshotOwner) -> io::Result<()> {
        let place = self.leftover_of(owner.instance);
        let base = read(&place)?.and_then(|bytes| Snapshot::parse(&bytes).ok());
        let Some((known, base)) = base.filter(|(known, _)| !known.leftover) else {
            return Ok(());
        };
        let owner = SnapshotOwner {
            leftover: true,
            ..known
        };
        self.write(&place, &saved.since(&base).to_bytes(&owner))
    }

    /// The leftover of the previous zone; `None` while that still runs, empty if there will be
    /// none.
    pub fn leftover(&self, parent: u64, pid: u32) -> Option<Snapshot> {
        let Ok(_lock) = self.lock() else {
            return Some(Snapshot::default());
        };
        let place = self.leftover_of(parent);
        let found = read(&place).ok().flatten();
        let found = found.and_then(|bytes| Snapshot::parse(&bytes).ok());
        let is_copy = matches!(&found, Some((owner, _)) if !owner.leftover);
        if is_copy && alive(pid) {
            return None;
        }
        // Remove it first: it is better lost than added twice.
        let is_removed = fs::remove_file(&place).is_ok();
        let saved = found.filter(|(owner, _)| owner.leftover && is_removed);
        Some(saved.map(|(_, saved)| saved).unwrap_or_default())
    }

    /// Replaces a file with this content, or leaves it as it was.
    fn write(&self, path: &Path, bytes: &[u8]) -> io::Result<()> {
        let new = self.beside("new");
        let _ = fs::remove_file(&new);
        // Workers can write to the folder, and the master is root: it must not follow their links.
        let mut file = OpenOptions::new()
            .write(true)
            .create_new(true)
            .mode(0o644)
            .open(&new)?;
        // Do not depend on the umask.
        file.set_permissions(fs::Permissions::from_mode(0o644))?;
        file.write_all(bytes)?;
        file.sync_data()?;
        fs::rename(&new, path)
    }
}

/// Whether the owner of a file is another nginx that still runs.
fn runs(theirs: &SnapshotOwner, owner: &SnapshotOwner) -> bool {
    theirs.pid != owner.pid && alive(theirs.pid)
}

fn read(path: &Path) -> io::Result<Option<Vec<u8>>> {
    let opened = File::options()
        .read(true)
        .custom_flags(libc::O_NOFOLLOW | libc::O_NONBLOCK)
        .open(path);
    let mut file = match opened {
        Ok(file) => file,
        Err(e) if e.kind() == io::ErrorKind::NotFound => return Ok(None),
        Err(e) => return Err(e),
    };
    let about = file.metadata()?;
    if !about.is_file() || about.len() > MAX_SIZE {
        return Err(io::Error::other(
            "it is not a regular file, or too large for a snapshot",
        ));
    }
    let mut bytes = vec![];
    file.read_to_end(&mut bytes)?;
    Ok(Some(bytes))
}
