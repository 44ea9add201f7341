//! The file of the totals, and who goes on with it.
//!
//! A file belongs to the block of totals that it was made from. When another nginx takes
//! it over while the first still runs (an upgrade of the binary), the first writes it no
//! more; what it counts from there on it leaves, at its end, in a file of its own, and
//! the other adds that. If the other ends before, the first takes the file back.

use nginx_safe::{FolderLock, alive};
use std::fs::{self, File, OpenOptions};
use std::io::{self, Read, Write};
use std::os::unix::fs::{OpenOptionsExt, PermissionsExt};
use std::path::{Path, PathBuf};

use openai_core::metrics::{Snapshot, SnapshotOwner};

/// More than all rows of the largest zone come to.
const MAX_SIZE: u64 = 1 << 30;

/// What has come of an attempt to write.
pub enum Put {
    Done,
    /// Another nginx has taken the file over.
    Succeeded,
    /// Another had it, and has ended: this is what it has counted.
    Returned(Snapshot),
}

/// What is there when a block begins to be kept.
pub struct Found {
    /// The totals to begin with.
    pub saved: Option<Snapshot>,
    /// The block that they are of.
    pub instance: u64,
    /// The block whose leftover is to be added some time, and its process.
    pub parent: Option<(u64, u32)>,
    /// Why there was a file that is none of ours, and where it is now.
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

    /// A path beside it.
    fn beside(&self, suffix: &str) -> PathBuf {
        let mut path = self.path.clone().into_os_string();
        path.push(".");
        path.push(suffix);
        path.into()
    }

    /// Where a block finds what was taken over from it, and leaves what it has counted since.
    fn leftover_of(&self, instance: u64) -> PathBuf {
        self.beside(&format!("{instance:016x}"))
    }

    /// Takes the file over for a block that nothing is known of; in the master. `is_shared`:
    /// other machines know blocks by their instances.
    pub fn claim(&self, owner: &SnapshotOwner, is_shared: bool) -> io::Result<Found> {
        let _lock = self.lock()?;
        let mut found = Found {
            saved: None,
            instance: 0,
            parent: None,
            rejected: None,
        };
        match read(&self.path)?.map(|bytes| Snapshot::parse(&bytes)) {
            None => {}
            // The same block under another path.
            Some(Ok((known, _))) if known.instance == owner.instance => {}
            Some(Ok((known, saved))) => {
                if runs(&known, owner) {
                    let _ = fs::remove_file(self.leftover_of(known.instance));
                    fs::hard_link(&self.path, self.leftover_of(known.instance))?;
                    found.parent = Some((known.instance, known.pid));
                } else if known.parent != 0 {
                    found.parent = Some((known.parent, known.parent_pid));
                }
                found.saved = Some(saved);
                found.instance = known.instance;
            }
            Some(Err(e)) => {
                let aside = self.beside("rejected");
                fs::rename(&self.path, &aside)?;
                found.rejected = Some((e.to_string(), aside));
            }
        }
        let (parent, parent_pid) = found.parent.unwrap_or_default();
        let owner = SnapshotOwner {
            parent,
            parent_pid,
            ..*owner
        };
        let mut saved = found.saved.clone().unwrap_or_default();
        if is_shared {
            saved = saved.of_another();
        }
        self.write(&self.path, &saved.to_bytes(&owner))?;
        Ok(found)
    }

    /// Writes the totals, unless the file is another's. `ends`: they are the last ones.
    pub fn put(&self, saved: Snapshot, owner: &SnapshotOwner, ends: bool) -> io::Result<Put> {
        let _lock = self.lock()?;
        let known = read(&self.path)?;
        let theirs = known
            .as_deref()
            .and_then(|bytes| Some((SnapshotOwner::parse(bytes).ok()?, bytes)));
        let mut done = Put::Done;
        if let Some((theirs, bytes)) = theirs {
            let is_own = theirs.instance == owner.instance;
            if is_own && theirs.turn > owner.turn {
                // A worker that ends was slower.
                return Ok(Put::Done);
            }
            if !is_own && runs(&theirs, owner) {
                if ends {
                    self.leave(saved, owner)?;
                }
                return Ok(Put::Succeeded);
            }
            if !is_own && let Some(since) = self.since_taken_over(owner, bytes) {
                done = Put::Returned(since);
            }
        }
        self.write(&self.path, &saved.to_bytes(owner))?;
        if matches!(done, Put::Returned(_)) {
            let _ = fs::remove_file(self.leftover_of(owner.instance));
        }
        Ok(done)
    }

    /// What another has counted since it took the file over.
    fn since_taken_over(&self, owner: &SnapshotOwner, theirs: &[u8]) -> Option<Snapshot> {
        let base = read(&self.leftover_of(owner.instance)).ok()??;
        let (_, base) = Snapshot::parse(&base).ok()?;
        Some(Snapshot::parse(theirs).ok()?.1.since(&base))
    }

    /// Leaves what has been counted since another took the file over.
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

    /// What the block before has left, once it has ended; `Err` if there will be nothing.
    pub fn leftover(&self, parent: u64, pid: u32) -> Result<Option<Snapshot>, ()> {
        let _lock = self.lock().map_err(drop)?;
        let place = self.leftover_of(parent);
        let found = read(&place).ok().flatten();
        let found = found.and_then(|bytes| Snapshot::parse(&bytes).ok());
        match found {
            Some((owner, saved)) if owner.leftover => {
                // Rather lost than doubled.
                fs::remove_file(&place).map_err(drop)?;
                Ok(Some(saved))
            }
            Some(_) if alive(pid) => Ok(None),
            _ => {
                let _ = fs::remove_file(&place);
                Err(())
            }
        }
    }

    /// Writes all of a file, or nothing.
    fn write(&self, path: &Path, bytes: &[u8]) -> io::Result<()> {
        let new = self.beside("new");
        let _ = fs::remove_file(&new);
        // The folder is the workers', the master is root: it follows no links of theirs.
        let mut file = OpenOptions::new()
            .write(true)
            .create_new(true)
            .mode(0o644)
            .open(&new)?;
        // Whatever the umask says.
        file.set_permissions(fs::Permissions::from_mode(0o644))?;
        file.write_all(bytes)?;
        file.sync_data()?;
        fs::rename(&new, path)
    }
}

/// Whether the block of a file is another's that still runs.
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
        return Err(io::Error::other("it is no file that totals fit in"));
    }
    let mut bytes = vec![];
    file.read_to_end(&mut bytes)?;
    Ok(Some(bytes))
}
