//! A small disk of its own for the daemon's state, which a test can fill.
//!
//! It is a tmpfs in a mount namespace that a process holds open, so that nothing is mounted on the machine itself and
//! nothing is left behind. The daemon enters that namespace; the test looks in through `/proc`. This needs root.

use std::{
    fs::{self, File},
    io::Write,
    path::{Path, PathBuf},
    thread,
    time::{Duration, Instant},
};

use crate::{
    process::Process,
    scratch,
    world::{Surroundings, World},
};

/// A disk, mounted over the state folder of a world's daemon.
pub struct SmallDisk {
    holder: Process,
    place: PathBuf,
}

impl SmallDisk {
    /// Mounts a disk over the state folder of a world whose daemon does not run yet. `options` are those of a tmpfs, such
    /// as `size=16m`.
    pub fn under(world: &World, options: &str) -> Self {
        let place = world.state();
        let shown = place.display();
        let log = scratch::folder("disk").join("log");
        let script = format!("mount -t tmpfs -o mode=700,{options} disk {shown} && echo mounted && exec sleep 1000000");
        let arguments = ["--mount", "--propagation", "private", "--", "sh", "-c", &script];
        let mut holder = Process::start(Path::new("unshare"), &arguments, &log);
        let start = Instant::now();
        while !holder.log().contains("mounted") {
            let failed = holder.ended().is_some() || start.elapsed() > Duration::from_secs(10);
            assert!(
                !failed,
                "this test needs a small disk, and mounting one needs root (CAP_SYS_ADMIN): {}",
                holder.log()
            );
            thread::sleep(Duration::from_millis(5));
        }
        let through = ["nsenter", "--mount", "--target", &holder.pid().to_string(), "--"].map(str::to_owned).into();
        world.surround(Surroundings { through, ..Surroundings::default() });
        Self { holder, place }
    }

    /// The disk as seen from here.
    pub fn inside(&self) -> PathBuf {
        let root = PathBuf::from(format!("/proc/{}/root", self.holder.pid()));
        root.join(self.place.strip_prefix("/").expect("an absolute path"))
    }

    /// Fills it to the last byte.
    pub fn fill(&self) {
        let mut file = File::options().create(true).append(true).open(self.filler()).expect("a file");
        for size in [1 << 16, 1 << 12, 1] {
            while file.write_all(&vec![0xaa; size]).is_ok() {}
        }
    }

    /// Fills it but for so many bytes.
    pub fn fill_but(&self, left: u64) {
        self.fill();
        let file = File::options().write(true).open(self.filler()).expect("a file");
        let length = file.metadata().expect("its length").len();
        file.set_len(length.saturating_sub(left)).expect("a shorter file");
    }

    /// Takes every inode that is left.
    pub fn take_inodes(&self) {
        let folder = self.inside().join("inodes");
        fs::create_dir_all(&folder).expect("a folder");
        let name = |n: &u32| folder.join(n.to_string());
        (0..100_000).take_while(|n| name(n).exists() || File::create(name(n)).is_ok()).for_each(drop);
    }

    /// Gives everything back that was taken.
    pub fn free(&self) {
        // Each is there only where it was made.
        fs::remove_file(self.filler()).ok();
        fs::remove_dir_all(self.inside().join("inodes")).ok();
    }

    fn filler(&self) -> PathBuf {
        self.inside().join("filler")
    }
}
