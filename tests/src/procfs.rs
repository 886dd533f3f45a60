//! What the kernel tells of a running process: its memory, its descriptors, and the texts in which secrets could show.

use std::{
    fs,
    path::{Path, PathBuf},
};

/// The folder of a process.
fn folder(pid: u32) -> PathBuf {
    PathBuf::from(format!("/proc/{pid}"))
}

/// A field of the process's status, such as `VmRSS`.
pub fn status(pid: u32, field: &str) -> String {
    let text = fs::read_to_string(folder(pid).join("status")).expect("a running process");
    let line = text.lines().find_map(|line| line.strip_prefix(field)?.strip_prefix(':'));
    line.unwrap_or_else(|| panic!("no {field} in {text}")).trim().to_owned()
}

/// Resident memory in KiB.
pub fn resident(pid: u32) -> u64 {
    status(pid, "VmRSS").trim_end_matches(" kB").parse().expect("a number")
}

/// Time on a processor so far, in ticks of 10 ms.
pub fn ticks(pid: u32) -> u64 {
    let text = text(pid, "stat");
    // Behind the name, which may hold anything.
    let fields: Vec<_> = text.rsplit_once(") ").expect("a running process").1.split(' ').collect();
    fields[11].parse::<u64>().expect("a number") + fields[12].parse::<u64>().expect("a number")
}

/// How many descriptors are open. The daemon shows them to nobody but root: `None` for others.
pub fn descriptors(pid: u32) -> Option<usize> {
    Some(fs::read_dir(folder(pid).join("fd")).ok()?.count())
}

/// What the process was started with, and what it has open or mapped: argv, environment, links of its descriptors, names
/// of its mappings. What nobody may read holds nothing for them.
pub fn texts(pid: u32) -> Vec<(String, Vec<u8>)> {
    let mut texts = Vec::new();
    for name in ["cmdline", "environ", "maps", "comm", "mountinfo", "status", "wchan"] {
        let file = folder(pid).join(name);
        texts.push((file.display().to_string(), fs::read(&file).unwrap_or_default()));
    }
    let links = fs::read_dir(folder(pid).join("fd")).into_iter().flatten().filter_map(Result::ok);
    texts.extend(links.map(|link| {
        let target = fs::read_link(link.path()).unwrap_or_default();
        (link.path().display().to_string(), target.as_os_str().as_encoded_bytes().to_vec())
    }));
    texts
}

/// A file of the process's folder as text.
pub fn text(pid: u32, name: impl AsRef<Path>) -> String {
    fs::read_to_string(folder(pid).join(name)).unwrap_or_default().trim().to_owned()
}
