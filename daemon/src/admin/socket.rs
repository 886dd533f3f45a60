//! How the operators' socket comes to be: only where nobody else could have put it, and never open to the world, not
//! even for the moment between its creation and its mode.

use std::fs::{self, Metadata};
use std::io;
use std::os::unix::fs::{FileTypeExt, MetadataExt, PermissionsExt};
use std::os::unix::net::{UnixListener, UnixStream};
use std::path::{Path, PathBuf};

use nix::sys::socket::{AddressFamily, Backlog, SockFlag, SockType, UnixAddr, bind, listen, socket};
use nix::unistd::{Gid, Group, Uid, chown};

use super::config::AdminConfig;

/// The whole of a uid map in which everybody is who they are.
const IDENTITY: [&str; 3] = ["0", "0", "4294967295"];

/// A socket that listens, and is removed when it goes.
pub(super) struct Socket {
    pub(super) listener: UnixListener,
    path: PathBuf,
    inode: (u64, u64),
}

impl Drop for Socket {
    fn drop(&mut self) {
        // Only what was made here is removed: somebody may have put another socket in its place.
        let ours = fs::symlink_metadata(&self.path).is_ok_and(|found| (found.dev(), found.ino()) == self.inode);
        if ours && let Err(error) = fs::remove_file(&self.path) {
            log::debug!("the socket's file stays: {error}");
        }
    }
}

/// Makes the socket and begins to listen on it.
///
/// # Errors
/// Words that say what is wrong and what to do.
pub(super) fn open(config: &AdminConfig) -> Result<Socket, String> {
    if !config.allow_user_namespace {
        let map = fs::read_to_string("/proc/self/uid_map").map_err(|error| format!("/proc/self/uid_map: {error}"))?;
        check_map(&map)?;
    }
    let path = &config.socket;
    let shown = path.display();
    let gid = config.group.as_deref().map(group).transpose()?;
    check_folder(path)?;
    clear(path)?;
    let failed = |what: &str, error: nix::Error| format!("{shown}: {what}: {}", error.desc());
    let flags = SockFlag::SOCK_CLOEXEC | SockFlag::SOCK_NONBLOCK;
    let made = socket(AddressFamily::Unix, SockType::Stream, flags, None).map_err(|e| failed("no socket", e))?;
    let address = UnixAddr::new(path).map_err(|error| failed("it can't be a socket's path", error))?;
    bind(std::os::fd::AsRawFd::as_raw_fd(&made), &address).map_err(|error| failed("it can't be made", error))?;
    // Until `listen` the kernel refuses every connection, whatever mode the file was made with.
    let made_as = fs::symlink_metadata(path).map_err(|error| format!("{shown}: {error}"))?;
    if let Some(gid) = gid
        && gid.as_raw() != made_as.gid()
    {
        // Under its unit rekeyd may give nothing away; there its own group is the operators' already.
        chown(path, None, Some(gid)).map_err(|error| failed("it can't be given to the group", error))?;
    }
    let bits = if gid.is_some() { 0o660 } else { 0o600 };
    fs::set_permissions(path, fs::Permissions::from_mode(bits)).map_err(|error| format!("{shown}: {error}"))?;
    let backlog = Backlog::new(64).map_err(|error| failed("no backlog", error))?;
    listen(&made, backlog).map_err(|error| failed("it can't listen", error))?;
    Ok(Socket { listener: made.into(), path: path.clone(), inode: (made_as.dev(), made_as.ino()) })
}

/// The gid of a group's name.
pub(super) fn group(name: &str) -> Result<Gid, String> {
    match Group::from_name(name) {
        Ok(Some(group)) => Ok(group.gid),
        Ok(None) => Err(format!("admin.group: there is no group {name:?}; make it with `groupadd --system {name}`")),
        Err(error) => Err(format!("admin.group: {name:?} can't be looked up: {}", error.desc())),
    }
}

/// Refuses a user namespace in which several people could arrive as one uid.
fn check_map(map: &str) -> Result<(), String> {
    if map.split_whitespace().eq(IDENTITY) {
        return Ok(());
    }
    Err("the kernel maps uids here (PrivateUsers=, or a rootless container), so callers of the admin socket could not \
         be told apart; run rekeyd without that, or set admin.allow_user_namespace"
        .into())
}

/// Refuses a folder in which somebody else could put or exchange files.
fn check_folder(path: &Path) -> Result<(), String> {
    let folder = path.parent().unwrap_or(Path::new("/"));
    let shown = folder.display();
    let found = fs::metadata(folder)
        .map_err(|error| format!("the admin socket's folder {shown} can't be used: {error}; make it, mode 0750"))?;
    let trusted = found.uid() == 0 || found.uid() == Uid::effective().as_raw();
    if !found.is_dir() || !trusted {
        return Err(format!("the admin socket's folder {shown} belongs to somebody else; give it to rekeyd"));
    }
    if found.mode() & 0o022 != 0 {
        return Err(format!("others may write to the admin socket's folder {shown}; `chmod go-w {shown}`"));
    }
    Ok(())
}

/// Removes the socket that a dead daemon left behind, and nothing else.
fn clear(path: &Path) -> Result<(), String> {
    let shown = path.display();
    let found: Metadata = match fs::symlink_metadata(path) {
        Ok(found) => found,
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(()),
        Err(error) => return Err(format!("{shown}: {error}")),
    };
    if !found.file_type().is_socket() {
        return Err(format!(
            "{shown} is there already and is no socket; it is left alone, remove it or change admin.socket"
        ));
    }
    match UnixStream::connect(path) {
        Ok(_) => Err(format!("another daemon answers on {shown}")),
        Err(error) if error.kind() == io::ErrorKind::ConnectionRefused => fs::remove_file(path)
            .map_err(|error| format!("{shown}, which nobody listens on, can't be removed: {error}")),
        Err(error) => Err(format!("{shown} can't be tried: {error}")),
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;

    fn folder() -> tempfile::TempDir {
        let folder = tempfile::tempdir().unwrap();
        fs::set_permissions(folder.path(), fs::Permissions::from_mode(0o750)).unwrap();
        folder
    }

    fn config(path: PathBuf) -> AdminConfig {
        AdminConfig { socket: path, allow_user_namespace: true, ..AdminConfig::default() }
    }

    #[test]
    fn t118_only_the_identity_map_tells_callers_apart() {
        assert!(check_map("         0          0 4294967295\n").is_ok());
        for map in ["", "0 1000 1\n", "0 100000 65536\n", "0 0 65536\n", "0 0 1\n1000 1000 4294966295\n"] {
            assert!(check_map(map).is_err(), "{map}");
        }
    }

    #[test]
    fn t120_the_socket_is_for_its_owner_and_group_alone_and_goes_with_the_daemon() {
        let folder = folder();
        let path = folder.path().join("admin.sock");
        let alone = open(&config(path.clone())).unwrap();
        assert_eq!(fs::symlink_metadata(&path).unwrap().mode() & 0o777, 0o600);
        drop(alone);
        assert!(!path.exists());

        let gid = nix::unistd::getegid();
        let name = Group::from_gid(gid).unwrap().unwrap().name;
        let shared = open(&AdminConfig { group: Some(name), ..config(path.clone()) }).unwrap();
        let found = fs::symlink_metadata(&path).unwrap();
        assert_eq!((found.mode() & 0o777, found.gid()), (0o660, gid.as_raw()));
        drop(shared);

        let nobody = open(&AdminConfig { group: Some("no-such-group".into()), ..config(path.clone()) }).err().unwrap();
        assert!(nobody.contains("groupadd"), "{nobody}");
        assert!(!path.exists());
    }

    #[test]
    fn t120_a_dead_socket_is_replaced_and_a_living_one_is_not() {
        let folder = folder();
        let path = folder.path().join("admin.sock");
        drop(UnixListener::bind(&path).unwrap());
        let first = open(&config(path.clone())).unwrap();
        let told = open(&config(path.clone())).err().unwrap();
        assert!(told.starts_with("another daemon answers on"), "{told}");
        drop(first);
    }

    #[test]
    fn t120_links_and_files_are_neither_followed_nor_removed() {
        let folder = folder();
        let (target, link) = (folder.path().join("target"), folder.path().join("link"));
        fs::write(&target, "kept").unwrap();
        std::os::unix::fs::symlink(&target, &link).unwrap();
        let dangling = folder.path().join("dangling");
        std::os::unix::fs::symlink(folder.path().join("nowhere"), &dangling).unwrap();
        for path in [&target, &link, &dangling] {
            assert!(open(&config(path.clone())).is_err());
            assert!(fs::symlink_metadata(path).is_ok());
        }
        assert_eq!(fs::read_to_string(&target).unwrap(), "kept");
        assert!(!folder.path().join("nowhere").exists());
    }

    #[test]
    fn t120_a_folder_that_others_may_write_to_is_refused() {
        let folder = folder();
        for mode in [0o777, 0o770, 0o1777] {
            fs::set_permissions(folder.path(), fs::Permissions::from_mode(mode)).unwrap();
            let told = open(&config(folder.path().join("admin.sock"))).err().unwrap();
            assert!(told.contains("go-w"), "{told}");
        }
        let told = open(&config(folder.path().join("missing/admin.sock"))).err().unwrap();
        assert!(told.contains("make it"), "{told}");
    }
}
